// Package cluster runs a real Kubernetes cluster as plain processes on loopback:
// etcd, kube-apiserver, kube-controller-manager and kube-scheduler, and on request
// simulated nodes (kwok), a real node (kubelet and containerd), cert-manager's
// controllers and Flux's. It needs no container engine and no image registry; all binaries
// are built from pinned Go modules.
//
// Tests, benchmarks and the demo start their clusters with it, in this way only:
//
//	c, err := cluster.Start(ctx, cluster.Options{With: []cluster.Component{cluster.KWOK}, Log: t.Logf})
//	if err != nil {
//		t.Fatal(err)
//	}
//	t.Cleanup(func() { _ = c.Stop() })
//
// All state of a cluster is in one folder. Nothing outlives the process that
// started it: Stop, the end of the context or the death of that process end
// every child and, with a real node, remove its mounts, interfaces and cgroups.
package cluster
