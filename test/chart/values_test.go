package chart

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

// Every key does what it says, and nothing is silently without effect.
func TestEveryValueCounts(t *testing.T) {
	t.Parallel()
	for _, r := range append(stakater(), ours()...) {
		t.Run(r.key, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			with := parse(t, r.with)
			values := parse(t, r.with)
			g.Expect(set(values, path(r.key), r.value)).To(Succeed())
			text, err := manifest(t, "reloader", values)
			g.Expect(err).NotTo(HaveOccurred())
			before, err := manifest(t, "reloader", with)
			g.Expect(err).NotTo(HaveOccurred())
			was, is := lines(t, before), lines(t, text)
			if r.inert {
				g.Expect(is).To(Equal(was))
				return
			}
			g.Expect(r.more+r.less).NotTo(BeEmpty(), "the row says what changes")
			expectOnlyIn(g, is, was, r.more)
			expectOnlyIn(g, was, is, r.less)
		})
	}
}

// expectOnlyIn checks that a line with this part is in the one and not in the other.
func expectOnlyIn(g Gomega, one, other []string, part string) {
	if part == "" {
		return
	}
	only := slices.DeleteFunc(slices.Clone(one), func(line string) bool { return slices.Contains(other, line) })
	g.Expect(only).To(ContainElement(ContainSubstring(part)))
}

// The rows above are complete: no key of the schema is without one.
func TestEveryKeyHasARow(t *testing.T) {
	t.Parallel()
	var rows []string
	for _, r := range append(stakater(), ours()...) {
		rows = append(rows, r.key)
	}
	slices.Sort(rows)
	NewWithT(t).Expect(slices.Compact(rows)).To(Equal(schemaKeys(t)))
}

// Every key is in values.yaml, where people look for it, and so in the README; those of a Service are not: it is rendered
// if any is set.
func TestEveryKeyHasADefault(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	text, err := os.ReadFile(filepath.Join(root, "charts", "reloader", "values.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	values := map[string]any{}
	g.Expect(sigsyaml.Unmarshal(text, &values)).To(Succeed())
	readme, err := os.ReadFile(filepath.Join(root, "charts", "reloader", "README.md"))
	g.Expect(err).NotTo(HaveOccurred())
	for _, key := range schemaKeys(t) {
		if key == "enabled" || strings.HasPrefix(key, "reloader.service.") {
			continue
		}
		g.Expect(has(values, path(key))).To(BeTrue(), key)
		g.Expect(string(readme)).To(MatchRegexp("(?m)^\\| `%s` \\| .+ \\| [^|]+ \\|$", strings.ReplaceAll(key, ".", `\.`)), key)
	}
}

// Unknown keys are typing errors, and values of another type would be rendered into something else.
func TestTheSchemaRefuses(t *testing.T) {
	t.Parallel()
	for name, values := range map[string]string{
		"unknown at the top":           "reloadr: {}",
		"unknown":                      "reloader: {autoReloadALL: true}",
		"unknown in the deployment":    "reloader: {deployment: {replica: 2}}",
		"unknown in a monitor":         "reloader: {podMonitor: {bearerTokenFile: /token}}",
		"a word for a switch":          `reloader: {autoReloadAll: "true"}`,
		"a strategy that is not there": "reloader: {reloadStrategy: both}",
		"a format that is not there":   "reloader: {logFormat: text}",
		"replicas as a word":           `reloader: {deployment: {replicas: "2"}}`,
		"fewer replicas than none":     "reloader: {deployment: {replicas: -1}}",
		"a number for a label":         "reloader: {deployment: {labels: {a: 1}}}",
		"a number for a duration":      "reloader: {settle: {quiet: 2}}",
		"no duration":                  "reloader: {settle: {quiet: soon}}",
		"no digest":                    "image: {digest: latest}",
		"a policy of no IP families":   "reloader: {service: {ipFamilyPolicy: Both}}",
		"an argument that is none":     "reloader: {extraArgs: [concurrent=4]}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := manifest(t, "reloader", parse(t, values))
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring("values don't meet the specifications of the schema")))
		})
	}
}

// What is empty, and what other charts give to those that they are made of, is no error.
func TestTheSchemaAllows(t *testing.T) {
	t.Parallel()
	for _, values := range []string{
		"", "enabled: true", "global: {somethingElse: 1}", "reloader: {deployment: {labels: null, resources: null, affinity: null}}",
		"reloader: {service: null}", `reloader: {namespaces: "", webhookUrl: null}`,
		"reloader: {deployment: {env: {open: {A: 1, B: true}, secret: null}}}",
	} {
		_, err := manifest(t, "reloader", parse(t, values))
		NewWithT(t).Expect(err).NotTo(HaveOccurred(), values)
	}
}

// schemaKeys are all keys that the schema knows and says nothing further about, sorted.
func schemaKeys(t *testing.T) []string {
	t.Helper()
	g := NewWithT(t)
	text, err := os.ReadFile(filepath.Join(root, "charts", "reloader", "values.schema.json"))
	g.Expect(err).NotTo(HaveOccurred())
	schema := map[string]any{}
	g.Expect(json.Unmarshal(text, &schema)).To(Succeed())
	keys := keysOf(schema, "")
	slices.Sort(keys)
	return keys
}

func keysOf(schema map[string]any, prefix string) []string {
	properties, ok := schema["properties"].(map[string]any)
	if !ok {
		return []string{strings.TrimSuffix(prefix, ".")}
	}
	var keys []string
	for name, property := range properties {
		keys = append(keys, keysOf(property.(map[string]any), prefix+name+".")...)
	}
	return keys
}

// set puts a value, which is YAML, where the path leads to.
func set(values map[string]any, path []string, value string) error {
	for _, name := range path[:len(path)-1] {
		next, ok := values[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			values[name] = next
		}
		values = next
	}
	var parsed any
	if err := sigsyaml.Unmarshal([]byte(value), &parsed); err != nil {
		return fmt.Errorf("reading a value: %w", err)
	}
	values[path[len(path)-1]] = parsed
	return nil
}

func has(values map[string]any, path []string) bool {
	for _, name := range path[:len(path)-1] {
		values, _ = values[name].(map[string]any)
	}
	_, found := values[path[len(path)-1]]
	return found
}

// lines are the leaves of all objects of a manifest, as "Kind/name: path = value".
func lines(t *testing.T, text string) []string {
	t.Helper()
	objects, err := harness.Decode(strings.NewReader(text))
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), text)
	var found []string
	for _, object := range objects {
		for _, leaf := range leaves(object.Object, "") {
			found = append(found, object.GetKind()+"/"+object.GetName()+": "+leaf)
		}
	}
	return found
}

func leaves(value any, path string) []string {
	var found []string
	switch v := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			found = append(found, leaves(v[name], strings.TrimPrefix(path+"."+name, "."))...)
		}
	case []any:
		for i, element := range v {
			found = append(found, leaves(element, fmt.Sprintf("%s[%d]", path, i))...)
		}
	default:
		return []string{fmt.Sprintf("%s = %v", path, v)}
	}
	return found
}

func concat(lists ...[]row) []row { return slices.Concat(lists...) }

// path is where a key leads to, name by name.
func path(key string) []string { return strings.Split(key, ".") }
