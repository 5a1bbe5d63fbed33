package policystore

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/policy"
	"github.com/flux-reloader/reloader/internal/watch/watchtest"
)

// apiServer serves policies while they are installed. It streams initial lists.
type apiServer struct {
	host watchtest.Host

	mu        sync.Mutex
	version   int
	installed bool
	broken    bool // a policy is stored that cannot be decoded
	asked     int
	forbidden map[string]bool // namespaces
	policies  map[policy.Name]*v1alpha1.ReloadPolicy
	watchers  map[chan event]string // namespace, empty for all
}

type event struct {
	Type   string                 `json:"type"`
	Object *v1alpha1.ReloadPolicy `json:"object"`
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	s := &apiServer{
		installed: true, forbidden: map[string]bool{}, policies: map[policy.Name]*v1alpha1.ReloadPolicy{}, watchers: map[chan event]string{},
	}
	server := httptest.NewServer(s)
	s.host = watchtest.Host(server.URL)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return s
}

// ServeHTTP answers lists and watches.
func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	namespace := ""
	if parts := strings.Split(path.Dir(r.URL.Path), "/namespaces/"); len(parts) == 2 {
		namespace = parts[1]
	}
	streamed := r.URL.Query().Get("sendInitialEvents") == "true"
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	w.Header().Set("Content-Type", runtime.ContentTypeJSON)
	switch {
	case s.broken && streamed:
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "ADDED", "object": undecodable()})
	case s.broken:
		_ = json.NewEncoder(w).Encode(map[string]any{
			"apiVersion": v1alpha1.GroupVersion.String(), "kind": v1alpha1.ReloadPolicyKind + "List", "items": []any{undecodable()},
		})
	case s.forbidden[namespace]:
		status := apierrors.NewForbidden(v1alpha1.GroupVersion.WithResource(resource).GroupResource(), "", nil).Status()
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(status)
	case !s.installed:
		http.NotFound(w, r)
	case r.URL.Query().Get("watch") == "":
		list := v1alpha1.ReloadPolicyList{Items: []v1alpha1.ReloadPolicy{}}
		list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.ReloadPolicyKind + "List"))
		list.ResourceVersion = fmt.Sprint(s.version)
		for _, p := range s.stored(namespace) {
			list.Items = append(list.Items, *p)
		}
		_ = json.NewEncoder(w).Encode(list)
	case !streamed && r.URL.Query().Get("resourceVersion") != fmt.Sprint(s.version):
		w.WriteHeader(http.StatusGone) // what was since the list is not kept: it has to be listed again
		_ = json.NewEncoder(w).Encode(apierrors.NewResourceExpired("too old").Status())
	default:
		events := make(chan event, 100)
		s.watchers[events] = namespace
		if streamed {
			for _, p := range s.stored(namespace) {
				events <- event{"ADDED", p}
			}
			end := s.stamped(&v1alpha1.ReloadPolicy{})
			end.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
			events <- event{"BOOKMARK", end}
		}
		s.mu.Unlock()
		stream(w, r, events)
		s.mu.Lock()
	}
}

// undecodable is a policy that another version has written.
func undecodable() map[string]any {
	return map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": v1alpha1.ReloadPolicyKind,
		"metadata": map[string]any{"namespace": "apps", "name": "bad"}, "spec": map[string]any{"suspend": "perhaps"},
	}
}

func stream(w http.ResponseWriter, r *http.Request, events chan event) {
	w.(http.Flusher).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case e, open := <-events:
			if !open {
				return
			}
			_ = json.NewEncoder(w).Encode(e) // nobody listens any more
			w.(http.Flusher).Flush()
		}
	}
}

func (s *apiServer) stored(namespace string) []*v1alpha1.ReloadPolicy {
	var policies []*v1alpha1.ReloadPolicy
	for name, p := range s.policies {
		if namespace == "" || namespace == name.Namespace {
			policies = append(policies, p)
		}
	}
	return policies
}

func (s *apiServer) stamped(p *v1alpha1.ReloadPolicy) *v1alpha1.ReloadPolicy {
	p = p.DeepCopy()
	p.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.ReloadPolicyKind))
	p.ResourceVersion = fmt.Sprint(s.version)
	return p
}

// set stores a policy.
func (s *apiServer) set(p *v1alpha1.ReloadPolicy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := policy.Name{Namespace: p.Namespace, Name: p.Name}
	kind := map[bool]string{true: "MODIFIED", false: "ADDED"}[s.policies[name] != nil]
	s.version++
	s.policies[name] = s.stamped(p)
	for events, namespace := range s.watchers {
		if namespace == "" || namespace == p.Namespace {
			events <- event{kind, s.policies[name]}
		}
	}
}

// change ends all watches around a change of what is served, and tells of nothing.
func (s *apiServer) change(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	for events := range s.watchers {
		close(events)
		delete(s.watchers, events)
	}
}
