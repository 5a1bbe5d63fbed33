package cluster

import (
	"fmt"
	"path/filepath"
	"regexp"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Kubeconfig returns the path of the administrator's kubeconfig file.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.dir, "kubeconfig") }

// KubeconfigFor writes a kubeconfig file with a client certificate for the user
// and groups and returns its path; a second call for the same user replaces the
// file. The user has the rights that RBAC gives it. A process can be given the
// identity of a ServiceAccount by its user name, system:serviceaccount:NAMESPACE:NAME.
func (c *Cluster) KubeconfigFor(user string, groups ...string) (string, error) {
	cert, key, err := c.authority.issue(user, groups)
	if err != nil {
		return "", err
	}
	config := &rest.Config{Host: c.config.Host}
	config.CAData, config.CertData, config.KeyData = c.config.CAData, cert, key
	path := filepath.Join(c.dir, "kubeconfigs", fileName(user))
	if err := writeKubeconfig(path, config); err != nil {
		return "", fmt.Errorf("making a kubeconfig for %s: %w", user, err)
	}
	return path, nil
}

// fileName turns a user name into one that is safe for a file.
func fileName(user string) string {
	return regexp.MustCompile(`[^A-Za-z0-9.-]+`).ReplaceAllString(user, "_")
}

func writeKubeconfig(path string, config *rest.Config) error {
	const name = "cluster"
	err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{
			name: {Server: config.Host, CertificateAuthorityData: config.CAData},
		},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{
			name: {ClientCertificateData: config.CertData, ClientKeyData: config.KeyData},
		},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	}, path)
	if err != nil {
		return fmt.Errorf("writing a kubeconfig: %w", err)
	}
	return nil
}
