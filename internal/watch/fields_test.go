package watch

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestOwns(t *testing.T) {
	const managed = `{"f:metadata": {"f:labels": {".": {}}}, "f:spec": {"f:template": {"f:spec": {}}, "f:replicas": {}}, "f:data": {}}`
	for name, tt := range map[string]struct {
		managed string
		path    []string
		want    bool
	}{
		"all of a field":              {managed, []string{"data"}, true},
		"something below":             {managed, []string{"spec"}, true},
		"a path":                      {managed, []string{"spec", "template"}, true},
		"a leaf":                      {managed, []string{"spec", "replicas"}, true},
		"another field":               {managed, []string{"status"}, false},
		"another below":               {managed, []string{"spec", "selector"}, false},
		"a field of another place":    {managed, []string{"template"}, false},
		"below a leaf":                {managed, []string{"data", "key"}, false},
		"below what is not an object": {`{"f:spec": "x"}`, []string{"spec", "template"}, false},
		"nothing is owned":            {`{}`, []string{"spec"}, false},
		"not JSON":                    {`{"f:spec`, []string{"spec"}, false},
		"empty":                       {``, []string{"spec"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Owns(metav1.NewFieldsV1(tt.managed), tt.path...); got != tt.want {
				t.Errorf("%t, want %t", got, tt.want)
			}
		})
	}
	if Owns(nil, "spec") {
		t.Error("an entry without fields owns something")
	}
}
