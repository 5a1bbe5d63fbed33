// Package rules checks that every rule of Stakater Reloader's that is documented as kept has a test, and that none is
// left out.
package rules
