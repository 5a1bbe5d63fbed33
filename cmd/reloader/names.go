package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"
)

// namespaceNames are the names of a list: spaces around them and empty ones do not count, as an empty name would stand for all
// namespaces.
func namespaceNames(from string, list []string) ([]string, error) {
	var names []string
	for _, entry := range list {
		name := strings.TrimSpace(entry)
		if name == "" {
			continue
		}
		if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
			return nil, fmt.Errorf("%s=%q: %q is no name of a namespace: %s", from, strings.Join(list, ","), name, problems[0])
		}
		names = append(names, name)
	}
	if len(list) > 0 && len(names) == 0 {
		return nil, fmt.Errorf("%s=%q: names no namespace", from, strings.Join(list, ","))
	}
	return names, nil
}

// checkAnnotations names flags that rename an annotation to something that cannot be one: nothing would carry it. An empty one is
// no annotation at all.
func checkAnnotations(flags *pflag.FlagSet) error {
	var err error
	flags.VisitAll(func(flag *pflag.Flag) {
		key := flag.Value.String()
		if err != nil || key == "" || !strings.HasSuffix(flag.Name, "-annotation") {
			return
		}
		if problems := validation.IsQualifiedName(strings.ToLower(key)); len(problems) > 0 {
			err = fmt.Errorf("--%s=%q: %s", flag.Name, key, problems[0])
		}
	})
	return err
}

// checkAccount names a ServiceAccount that there cannot be.
func checkAccount(name string) error {
	if name == "" {
		return nil
	}
	if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
		return fmt.Errorf("--default-service-account=%q: %s", name, problems[0])
	}
	return nil
}

// checkEventsAddress names an address at which nobody could be told anything.
func checkEventsAddress(address string) error {
	if address == "" {
		return nil
	}
	parsed, err := url.Parse(address)
	if err == nil && (parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https") {
		err = errors.New("want an absolute URL that begins with http:// or https://")
	}
	if err != nil {
		return fmt.Errorf("--events-addr=%q: %w", address, err)
	}
	return nil
}
