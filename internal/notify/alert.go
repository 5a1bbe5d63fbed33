package notify

import (
	"strings"
	"unicode/utf8"
)

// Sink is the kind of receiver that alerts are formatted for.
type Sink string

// The sinks. Every other is Plain.
const (
	Slack      Sink = "slack"
	Teams      Sink = "teams"
	GoogleChat Sink = "gchat"
	// Plain is a receiver of plain text.
	Plain Sink = "raw"
)

// Alert is a restart, or one that failed.
type Alert struct {
	// Failed is whether it did not happen.
	Failed bool
	Text   string
}

// maxText bounds an alert in bytes: less than any of the sinks takes.
const maxText = 4000

// format is an alert as a sink takes it. Info is put before the text as it is: whoever runs the controller may mention
// people there. In the text, nothing mentions anybody.
func (s Sink) format(a Alert, info string) message {
	a.Text = shortened(a.Text)
	switch s {
	case Slack:
		return slackMessage(a, info)
	case Teams, GoogleChat:
		return chatMessage(a, info)
	default:
		return plainMessage(a, info)
	}
}

// prefixed is a text with the additional information that its receivers shall have.
func prefixed(info, text string) string {
	if info == "" {
		return text
	}
	return info + " : " + text
}

// shortened is the beginning of a text that is too long.
func shortened(text string) string {
	const more = "…"
	if len(text) <= maxText {
		return text
	}
	end := maxText - len(more)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return strings.ToValidUTF8(text[:end], "") + more
}
