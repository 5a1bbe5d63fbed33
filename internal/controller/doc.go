// Package controller joins the edges and the plan: it watches, decides, restarts, records and reports. One Reconciler
// takes one workload at a time; everything it knows of the past is in the ledger.
//
// Every replica watches. The one that holds the lease takes over the ledger, then reconciles every workload once, and
// from then on those that change, or whose sources do.
package controller
