package main

import "github.com/flux-reloader/reloader/internal/notify"

// secretURL is a flag whose value is not to be shown. It keeps what is wrong with it for later: the error of a flag quotes
// its value.
type secretURL struct {
	address notify.Address
	err     error
}

func (u *secretURL) String() string { return u.address.String() }
func (u *secretURL) Type() string   { return "string" }
func (u *secretURL) Set(value string) error {
	u.address, u.err = notify.ParseAddress(value)
	return nil
}
