package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/spf13/pflag"
)

// deploymentName is the variable by which Stakater Reloader's chart names the Deployment.
const deploymentName = "RELOADER_DEPLOYMENT_NAME"

// metaInfo is what the ConfigMap reloader-meta-info says, if the Deployment is named; nil if not. It has the flags that are
// Stakater Reloader's, and no others: what they say is known not to be secret, or does not show.
func (o *options) metaInfo() (map[string]string, error) {
	name := os.Getenv(deploymentName)
	if name == "" {
		return nil, nil
	}
	build := map[string]string{"releaseVersion": version}
	if info, ok := debug.ReadBuildInfo(); ok {
		build["goVersion"] = info.GoVersion
		for _, setting := range info.Settings {
			switch setting.Key {
			case "vcs.revision":
				build["commitHash"] = setting.Value
			case "vcs.time":
				build["commitTime"] = setting.Value
			}
		}
	}
	flags := map[string]string{}
	o.stakater.flags.VisitAll(func(f *pflag.Flag) { flags[f.Name] = f.Value.String() })
	data := map[string]string{}
	for key, value := range map[string]map[string]string{
		"buildInfo": build, "reloaderOptions": flags, "deploymentInfo": {"name": name, "namespace": o.namespace},
	} {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("encoding %s: %w", key, err)
		}
		data[key] = string(text)
	}
	return data, nil
}
