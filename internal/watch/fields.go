package watch

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Owns reports whether a field manager owns something at or below a path of fields, "spec", "template". Managed fields
// that cannot be read own nothing.
func Owns(managed *metav1.FieldsV1, path ...string) bool {
	if managed == nil {
		return false
	}
	at := json.RawMessage(managed.GetRawBytes())
	for _, field := range path {
		var below map[string]json.RawMessage
		if err := json.Unmarshal(at, &below); err != nil {
			return false
		}
		next, owned := below["f:"+field]
		if !owned {
			return false
		}
		at = next
	}
	return true
}
