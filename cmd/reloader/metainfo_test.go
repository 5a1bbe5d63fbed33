package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestMetaInfo(t *testing.T) {
	t.Setenv(deploymentName, "")
	if info := complete(t).MetaInfo; info != nil {
		t.Errorf("there is %v without a name", info)
	}
	t.Setenv(deploymentName, "reloader-reloader")
	info := complete(t, "--webhook-url=https://hooks.example.com/s3cret", "--events-addr=http://s3cret", "--auto-reload-all").MetaInfo
	var flags, deployment, build map[string]string
	for key, into := range map[string]*map[string]string{"reloaderOptions": &flags, "deploymentInfo": &deployment, "buildInfo": &build} {
		if err := json.Unmarshal([]byte(info[key]), into); err != nil {
			t.Errorf("%s: %v", key, err)
		}
		if strings.Contains(info[key], "s3cret") {
			t.Errorf("%s has a secret: %s", key, info[key])
		}
	}
	if flags["auto-reload-all"] != "true" || flags["reload-strategy"] != "annotations" {
		t.Errorf("flags %v", flags)
	}
	if deployment["name"] != "reloader-reloader" || deployment["namespace"] != "reloader" {
		t.Errorf("deployment %v", deployment)
	}
	if build["releaseVersion"] == "" || build["goVersion"] == "" || len(info) != 3 {
		t.Errorf("build %v of %d keys", build, len(info))
	}
}
