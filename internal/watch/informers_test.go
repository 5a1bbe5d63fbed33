package watch

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// apiServer serves lists and watches of ConfigMaps: in each namespace those that are there, then what is sent.
type apiServer struct {
	mu sync.Mutex
	// old does not know watches that begin with a list.
	old      bool
	version  int
	refusals map[string]int               // HTTP status by namespace
	objects  map[string]map[string]string // by namespace and name: the content
	open     map[chan event]string        // the watches' namespaces
	selector string
	// api is the HTTP status of a question for the API itself; 0 if it is served.
	api int
}

type event struct {
	kind   string
	object *corev1.ConfigMap
}

func newAPIServer() *apiServer {
	return &apiServer{refusals: map[string]int{}, objects: map[string]map[string]string{}, open: map[chan event]string{}}
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if strings.HasPrefix(r.URL.Path, "/apis/") { // which APIs are served
		code := s.api
		s.mu.Unlock()
		refuse(w, max(code, http.StatusOK))
		return
	}
	namespace := strings.Split(r.URL.Path, "/")[4] // /api/v1/namespaces/NAMESPACE/configmaps
	query := r.URL.Query()
	s.selector = query.Get("labelSelector")
	watches, streamed := query.Has("watch"), query.Has("sendInitialEvents")
	code := s.refusals[namespace]
	switch {
	case code != 0:
	case streamed && s.old:
		code = http.StatusUnprocessableEntity
	case watches && !streamed && query.Get("resourceVersion") != fmt.Sprint(s.version):
		code = http.StatusGone // what was since the list is not kept: it has to be listed again
	case !watches:
		list := s.list(namespace)
		s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(list)
		return
	}
	if code != 0 {
		s.mu.Unlock()
		refuse(w, code)
		return
	}
	events := make(chan event, 100)
	s.open[events] = namespace
	if streamed {
		for _, object := range s.list(namespace).Items {
			events <- event{"ADDED", &object}
		}
		done := s.configMap(namespace, "", "")
		done.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
		events <- event{"BOOKMARK", done}
	}
	s.mu.Unlock()
	s.stream(w, r, events)
}

func (s *apiServer) list(namespace string) corev1.ConfigMapList {
	list := corev1.ConfigMapList{TypeMeta: metav1.TypeMeta{Kind: "ConfigMapList", APIVersion: "v1"}}
	for name, content := range s.objects[namespace] {
		list.Items = append(list.Items, *s.configMap(namespace, name, content))
	}
	list.ResourceVersion = fmt.Sprint(s.version)
	return list
}

func refuse(w http.ResponseWriter, code int) {
	reasons := map[int]metav1.StatusReason{
		http.StatusForbidden: metav1.StatusReasonForbidden, http.StatusNotFound: metav1.StatusReasonNotFound,
		http.StatusUnauthorized: metav1.StatusReasonUnauthorized, http.StatusInternalServerError: metav1.StatusReasonInternalError,
		http.StatusGone: metav1.StatusReasonExpired, http.StatusUnprocessableEntity: metav1.StatusReasonInvalid,
		http.StatusServiceUnavailable: metav1.StatusReasonServiceUnavailable,
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reasons[code],
	})
}

func (s *apiServer) stream(w http.ResponseWriter, r *http.Request, events chan event) {
	w.Header().Set("Content-Type", "application/json")
	for {
		select {
		case <-r.Context().Done():
			return
		case e, ok := <-events:
			if !ok {
				return
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"type": e.kind, "object": e.object})
			w.(http.Flusher).Flush()
		}
	}
}

func (s *apiServer) configMap(namespace, name, content string) *corev1.ConfigMap {
	s.version++
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{Kind: "ConfigMap", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, ResourceVersion: fmt.Sprint(s.version)},
		Data:       map[string]string{"key": content},
	}
}

// set stores an object, or removes it if the content is empty, and tells the open watches.
func (s *apiServer) set(namespace, name, content string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kind := "MODIFIED"
	if _, there := s.objects[namespace][name]; !there {
		kind = "ADDED"
	}
	if s.objects[namespace] == nil {
		s.objects[namespace] = map[string]string{}
	}
	if content == "" {
		content, kind = s.objects[namespace][name], "DELETED"
		delete(s.objects[namespace], name)
	} else {
		s.objects[namespace][name] = content
	}
	for events, watched := range s.open {
		if watched == namespace {
			events <- event{kind, s.configMap(namespace, name, content)}
		}
	}
}

// answer makes all watches of a namespace end, and from then on answers with a status; 0 is to serve them. What the
// change does to the objects meanwhile is not told.
func (s *apiServer) answer(namespace string, code int, meanwhile func(objects map[string]string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals[namespace] = code
	if meanwhile != nil {
		s.version++
		meanwhile(s.objects[namespace])
	}
	for events, watched := range s.open {
		if watched == namespace {
			close(events)
			delete(s.open, events)
		}
	}
}

// kept is what is left of a ConfigMap.
type kept struct {
	metav1.ObjectMeta
	content string
}

func keep(object any) any {
	if cm, ok := object.(*corev1.ConfigMap); ok {
		return &kept{metav1.ObjectMeta{Namespace: cm.Namespace, Name: cm.Name, ResourceVersion: cm.ResourceVersion}, cm.Data["key"]}
	}
	return object
}

// calls notes what a handler is told.
type calls struct {
	mu  sync.Mutex
	all []string
}

func (c *calls) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, fmt.Sprintf(format, args...))
}

func (c *calls) Added(object any, origin Origin) {
	o := object.(*kept)
	c.note("added %s=%s %s", o.Name, o.content, originName(origin))
}

func (c *calls) Updated(before, after any, origin Origin) {
	c.note("updated %s=%s to %s %s", before.(*kept).Name, before.(*kept).content, after.(*kept).content, originName(origin))
}

func originName(origin Origin) string { return [...]string{"initial", "relisted", "watched"}[origin] }

func (c *calls) Deleted(object any) {
	c.note("deleted %s=%s", object.(*kept).Name, object.(*kept).content)
}

func (c *calls) has(call string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.all, call)
}

// start runs informers of ConfigMaps against the server until the test ends.
func start(t *testing.T, s *apiServer, namespaces ...string) (*Informers, *calls) {
	t.Helper()
	return startAs(t, s, false, namespaces...)
}

func startAs(t *testing.T, s *apiServer, optional bool, namespaces ...string) (*Informers, *calls) {
	t.Helper()
	return startWith(t, s, func(r *Resource) { r.Optional = optional }, namespaces...)
}

func startWith(t *testing.T, s *apiServer, change func(*Resource), namespaces ...string) (*Informers, *calls) {
	t.Helper()
	server := httptest.NewServer(s)
	clients, err := kubernetes.NewForConfig(&rest.Config{
		Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"},
	})
	if err != nil {
		t.Fatal(err)
	}
	told := &calls{}
	resource := Resource{
		Name: "configmaps", Client: clients.CoreV1().RESTClient(), Codec: clientgoscheme.ParameterCodec, Object: &corev1.ConfigMap{},
		Select: func(o *metav1.ListOptions) { o.LabelSelector = "!mine" }, Keep: keep,
		Indexers: cache.Indexers{"content": func(o any) ([]string, error) { return []string{o.(*kept).content}, nil }},
	}
	change(&resource)
	informers, err := New(logr.Discard(), Namespaces(namespaces...), resource, told)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { informers.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		server.CloseClientConnections()
		server.Close()
	})
	return informers, told
}

// eventually waits for a condition. The reflector's first backoff is near a second; they double up to a minute at the most.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(3 * time.Minute); !condition(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func content(i *Informers, namespace, name string) (string, bool) {
	object, exists, known := i.Get(namespace, name)
	if !exists {
		return "", known
	}
	return object.(*kept).content, known
}

func TestInformers(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	s.set("a", "one", "1")
	s.set("b", "two", "2")
	i, told := start(t, s, "a", "b")
	eventually(t, "settled", i.Settled)
	for _, want := range []string{"added one=1 initial", "added two=2 initial"} {
		if !told.has(want) {
			t.Errorf("not told: %s", want)
		}
	}
	if c, known := content(i, "a", "one"); c != "1" || !known {
		t.Errorf("content %q, known %t", c, known)
	}
	if c, known := content(i, "a", "two"); c != "" || !known {
		t.Errorf("of another namespace: content %q, known %t", c, known)
	}
	if c, known := content(i, "elsewhere", "one"); c != "" || !known {
		t.Errorf("outside the scope: content %q, known %t", c, known)
	}
	if i.Len() != 2 || len(i.All()) != 2 || len(i.ByIndex("content", "2")) != 1 || i.ByIndex("none", "2") != nil {
		t.Errorf("%d objects: %v", i.Len(), i.All())
	}
	if s.selector != "!mine" {
		t.Errorf("label selector %q", s.selector)
	}

	s.set("a", "three", "3")
	s.set("a", "one", "1b")
	s.set("b", "two", "")
	for _, want := range []string{"added three=3 watched", "updated one=1 to 1b watched", "deleted two=2"} {
		eventually(t, want, func() bool { return told.has(want) })
	}
}

// After a watch that is refused client-go asks for a list, which may be answered.
func TestAListIsAsGoodAsAStreamedOne(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	s.old = true
	s.set("a", "one", "1")
	i, told := start(t, s, "a")
	eventually(t, "settled", i.Settled)
	if !told.has("added one=1 initial") {
		t.Error("not told of what was listed")
	}
	eventually(t, "a watch follows", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.open) == 1 })
	s.set("a", "one", "1b")
	eventually(t, "told", func() bool { return told.has("updated one=1 to 1b watched") })

	s.answer("a", 0, func(objects map[string]string) { objects["one"] = "1c" })
	eventually(t, "told of a later list", func() bool { return told.has("updated one=1b to 1c relisted") })
}

func TestARefusalIsAnAnswer(t *testing.T) {
	for _, code := range []int{http.StatusForbidden, http.StatusUnauthorized, http.StatusNotFound} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			t.Parallel()
			s := newAPIServer()
			s.set("a", "one", "1")
			s.set("b", "two", "2")
			s.answer("b", code, nil)
			i, _ := start(t, s, "a", "b")
			eventually(t, "settled", i.Settled)
			if _, known := content(i, "b", "two"); known {
				t.Error("what is refused is known")
			}
			if _, known := content(i, "a", "one"); !known {
				t.Error("the other namespace is not known")
			}
			if refusals := i.Refusals(); len(refusals) != 1 || refusals["b"] == nil {
				t.Errorf("refusals %v", refusals)
			}
			s.answer("b", 0, nil)
			eventually(t, "allowed", func() bool { c, known := content(i, "b", "two"); return known && c == "2" })
			if refusals := i.Refusals(); len(refusals) != 0 {
				t.Errorf("refusals %v", refusals)
			}
		})
	}
}

// An error that is no answer holds up what waits for the first list.
func TestAnErrorIsNoAnswer(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	s.set("a", "one", "1")
	s.answer("a", http.StatusInternalServerError, nil)
	i, _ := start(t, s, "a")
	eventually(t, "it was asked for", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.selector != "" })
	if _, known := content(i, "a", "one"); known || i.Settled() || len(i.Refusals()) != 0 {
		t.Errorf("known %t, settled %t, refusals %v", known, i.Settled(), i.Refusals())
	}
	s.answer("a", 0, nil)
	eventually(t, "settled", i.Settled)
	if c, known := content(i, "a", "one"); c != "1" || !known {
		t.Errorf("content %q, known %t", c, known)
	}
}

// What was known stays the best there is while the API server does not answer, and is not trusted if it refuses.
func TestALostWatch(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	s.set("a", "one", "1")
	s.set("a", "two", "2")
	i, told := start(t, s, "a")
	eventually(t, "settled", i.Settled)

	s.answer("a", http.StatusInternalServerError, nil)
	if c, known := content(i, "a", "one"); c != "1" || !known {
		t.Errorf("no answer: content %q, known %t", c, known)
	}
	s.answer("a", http.StatusForbidden, nil)
	eventually(t, "refused", func() bool { _, known := content(i, "a", "one"); return !known })
	if !i.Settled() {
		t.Error("a refusal unsettles")
	}
	s.answer("a", 0, func(objects map[string]string) {
		objects["one"], objects["three"] = "1b", "3"
		delete(objects, "two")
	})
	eventually(t, "seen again", func() bool { c, known := content(i, "a", "one"); return known && c == "1b" })
	want := []string{"added three=3 relisted", "updated one=1 to 1b relisted", "deleted two=2"}
	for _, call := range want {
		eventually(t, call, func() bool { return told.has(call) })
	}
	if diff := cmp.Diff(2, i.Len()); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}
