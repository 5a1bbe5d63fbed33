package notify

import "strings"

// plainMessage is the text alone, without marks.
func plainMessage(a Alert, info string) message {
	return message{"text/plain; charset=utf-8", []byte(strings.ReplaceAll(prefixed(info, a.Text), "*", ""))}
}
