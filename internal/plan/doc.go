// Package plan decides, from everything observed about one workload and the time, whether to restart it. It is pure and
// it is all of the decision: callers observe, ask, and carry out.
//
// The data flows through Decide in this order: what changed since the pods were last proven (findings.go), whether
// pods already run with it (freshness.go), whether the restart has to wait (gates.go), and the value that restarts
// (value.go). A restart that somebody asks for takes a shorter way (request.go).
package plan
