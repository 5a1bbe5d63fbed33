package chart

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// The controller takes the arguments that are rendered: it gets as far as to look for the API server, which comes after it
// has read and checked them all.
func TestTheControllerTakesItsArguments(t *testing.T) {
	t.Parallel()
	all := sets()
	all["an argument that it does not know"] = "reloader: {extraArgs: [--unheard-of]}"
	all["a selector that is none"] = "reloader: {resourceLabelSelector: 'a=b=c'}"
	for name, values := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			args := deployment(t, render(t, "reloader", values)).Spec.Template.Spec.Containers[0].Args
			command := exec.CommandContext(ctx, reloader, args...)
			command.Env = append(os.Environ(), "RUNTIME_NAMESPACE="+releaseNamespace, "KUBECONFIG="+filepath.Join(t.TempDir(), "none"))
			output, err := command.CombinedOutput()
			g := NewWithT(t)
			g.Expect(err).To(HaveOccurred())
			g.Expect(string(output)).To(ContainSubstring(outcome(name)), "%q", args)
		})
	}
}

func outcome(name string) string {
	switch name {
	case "an argument that it does not know":
		return "unknown flag: --unheard-of"
	case "a selector that is none":
		return `--resource-label-selector="a=b=c"`
	default:
		return "finding the API server"
	}
}
