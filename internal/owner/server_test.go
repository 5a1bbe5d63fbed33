package owner

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/flux-reloader/reloader/internal/watch/watchtest"
)

// apiServer serves the kinds of Flux objects that are installed. It streams initial lists.
type apiServer struct {
	mu       sync.Mutex
	version  int
	kinds    map[string]kind                       // by resource, those that are served
	objects  map[string]*unstructured.Unstructured // by owner
	watchers map[chan map[string]any]string        // resource
	answers  map[string]int                        // HTTP status by resource, of those that are not served as they should
	asked    map[string]int                        // by resource: how often
	host     watchtest.Host
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	s := &apiServer{
		kinds: map[string]kind{}, objects: map[string]*unstructured.Unstructured{}, watchers: map[chan map[string]any]string{},
		answers: map[string]int{}, asked: map[string]int{},
	}
	server := httptest.NewServer(s)
	s.host = watchtest.Host(server.URL)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return s
}

// ServeHTTP answers lists and watches.
func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	resource := path.Base(r.URL.Path)
	s.mu.Lock()
	s.asked[resource]++
	if code := s.answers[resource]; code != 0 {
		s.mu.Unlock()
		refuse(w, code)
		return
	}
	k, served := s.kinds[resource]
	if !served {
		s.mu.Unlock()
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", runtime.ContentTypeJSON)
	if r.URL.Query().Get("watch") == "" {
		list := map[string]any{
			"apiVersion": k.version.String(), "kind": k.name + "List",
			"metadata": map[string]any{"resourceVersion": fmt.Sprint(s.version)}, "items": s.stored(k),
		}
		s.mu.Unlock()
		_ = json.NewEncoder(w).Encode(list)
		return
	}
	streamed := r.URL.Query().Get("sendInitialEvents") == "true"
	if !streamed && r.URL.Query().Get("resourceVersion") != fmt.Sprint(s.version) {
		s.mu.Unlock()
		w.WriteHeader(http.StatusGone) // what was since the list is not kept: it has to be listed again
		_ = json.NewEncoder(w).Encode(apierrors.NewResourceExpired("too old").Status())
		return
	}
	events := make(chan map[string]any, 100)
	s.watchers[events] = resource
	if streamed {
		for _, o := range s.stored(k) {
			events <- map[string]any{"type": "ADDED", "object": o}
		}
		end := &unstructured.Unstructured{Object: map[string]any{}}
		end.SetGroupVersionKind(k.version.WithKind(k.name))
		end.SetResourceVersion(fmt.Sprint(s.version))
		end.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
		events <- map[string]any{"type": "BOOKMARK", "object": end}
	}
	s.mu.Unlock()
	s.stream(w, r, events)
}

func refuse(w http.ResponseWriter, code int) {
	reason := map[int]metav1.StatusReason{
		http.StatusForbidden: metav1.StatusReasonForbidden, http.StatusUnauthorized: metav1.StatusReasonUnauthorized,
		http.StatusInternalServerError: metav1.StatusReasonInternalError,
	}[code]
	w.Header().Set("Content-Type", runtime.ContentTypeJSON)
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason,
	})
}

func (s *apiServer) stream(w http.ResponseWriter, r *http.Request, events chan map[string]any) {
	w.(http.Flusher).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case e, open := <-events:
			if !open {
				return
			}
			_ = json.NewEncoder(w).Encode(e)
			w.(http.Flusher).Flush()
		}
	}
}

func (s *apiServer) stored(k kind) []any {
	items := []any{}
	for key, o := range s.objects {
		if strings.HasPrefix(key, k.name+"/") {
			items = append(items, o.Object)
		}
	}
	return items
}

// install serves all kinds from now on.
func (s *apiServer) install() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range kinds() {
		s.kinds[k.resource] = k
	}
}

// watched reports whether all kinds are: an object that is deleted before is not told of.
func (s *apiServer) watched() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	resources := map[string]bool{}
	for _, resource := range s.watchers {
		resources[resource] = true
	}
	return len(resources) == len(kinds())
}

// withdraw serves none of the kinds from now on, and tells of nothing.
func (s *apiServer) withdraw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.kinds)
	for events := range s.watchers {
		close(events)
		delete(s.watchers, events)
	}
}

// answer ends the watches of a kind, which is answered with an HTTP status from now on; 0 is to serve it.
func (s *apiServer) answer(resource string, code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[resource] = code
	for events, watched := range s.watchers {
		if watched == resource {
			close(events)
			delete(s.watchers, events)
		}
	}
}

// askedFor is how often a kind was asked for.
func (s *apiServer) askedFor(resource string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[resource]
}

// set stores an object, "Kind/namespace/name", that another one applies; none if that is empty.
func (s *apiServer) set(key, appliedBy string, content map[string]any) {
	parts := strings.Split(key, "/")
	var k kind
	for _, k = range kinds() {
		if k.name == parts[0] {
			break
		}
	}
	o := &unstructured.Unstructured{Object: maps.Clone(content)}
	o.SetGroupVersionKind(k.version.WithKind(k.name))
	o.SetNamespace(parts[1])
	o.SetName(parts[2])
	o.SetUID("uid")
	if by := strings.Split(appliedBy, "/"); len(by) == 3 {
		for _, k := range kinds() {
			if k.name == by[0] {
				o.SetLabels(map[string]string{k.labels + "namespace": by[1], k.labels + "name": by[2]})
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	event := "ADDED"
	if s.objects[key] != nil {
		event = "MODIFIED"
	}
	s.send(event, k, o)
	s.objects[key] = o
}

func (s *apiServer) remove(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range kinds() {
		if strings.HasPrefix(key, k.name+"/") {
			s.send("DELETED", k, s.objects[key].DeepCopy())
		}
	}
	delete(s.objects, key)
}

func (s *apiServer) send(event string, k kind, o *unstructured.Unstructured) {
	s.version++
	o.SetResourceVersion(fmt.Sprint(s.version))
	for events, resource := range s.watchers {
		if resource == k.resource {
			events <- map[string]any{"type": event, "object": o.DeepCopy().Object}
		}
	}
}
