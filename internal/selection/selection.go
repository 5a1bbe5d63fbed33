// Package selection decides from annotations and settings whether a workload restarts when its sources change. It is
// pure.
package selection

import (
	"fmt"
	"strconv"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/reference"
)

// Settings are the parts of the controller's flags that selection depends on.
type Settings struct {
	// AutoAnnotation is the key by which a workload opts in.
	AutoAnnotation string
}

// Defaults are the settings without any flag.
func Defaults() Settings {
	return Settings{AutoAnnotation: v1alpha1.AutoAnnotation}
}

// Result says what restarts a workload.
type Result struct {
	// Selected is whether the workload opted in at all.
	Selected bool
	// Uses are the references that restart it, in the order given.
	Uses []reference.Use
	// Problems are annotations that could not be read. They disable only themselves.
	Problems []Problem
}

// Problem is an annotation whose value makes no sense.
type Problem struct {
	Annotation string
	Value      string
	Detail     string
}

// String names the annotation, its value and what is wrong with it.
func (p Problem) String() string {
	return fmt.Sprintf("annotation %s: invalid value %q: %s", p.Annotation, p.Value, p.Detail)
}

// Select decides for a workload with these annotations, on itself and on its pod template. The template's count only
// where the workload has none of its own, as in Stakater Reloader.
func Select(settings Settings, workload, template map[string]string, uses []reference.Use) Result {
	value, found := workload[settings.AutoAnnotation]
	if !found {
		value, found = template[settings.AutoAnnotation]
	}
	if !found {
		return Result{}
	}
	auto, err := strconv.ParseBool(value)
	if err != nil {
		return Result{Problems: []Problem{{
			Annotation: settings.AutoAnnotation, Value: value, Detail: `want "true" or "false"`,
		}}}
	}
	if !auto {
		return Result{}
	}
	return Result{Selected: true, Uses: uses}
}
