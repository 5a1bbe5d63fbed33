package ledgerstore

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// labels mark the ledger's ConfigMaps.
func (o Options) labels() map[string]string {
	return map[string]string{ShardLabel: "shard" + o.suffix(), "app.kubernetes.io/managed-by": "reloader"}
}

func (o Options) suffix() string {
	if o.Instance == "" {
		return ""
	}
	return "-" + o.Instance
}

func (o Options) shardName(number int) string {
	return "reloader-ledger" + o.suffix() + "-" + strconv.Itoa(number)
}

func (o Options) shardNumber(name string) (int, bool) {
	number, err := strconv.Atoi(name[strings.LastIndexByte(name, '-')+1:])
	return number, err == nil && number >= 0 && o.shardName(number) == name
}

func (o Options) configMap(number int) *corev1.ConfigMap {
	cm := &corev1.ConfigMap{}
	cm.Namespace, cm.Name, cm.Labels = o.Namespace, o.shardName(number), o.labels()
	return cm
}
