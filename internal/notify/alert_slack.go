package notify

import (
	"encoding/json"
	"strings"
)

type slackBody struct {
	Attachments []slackAttachment `json:"attachments"`
}

type slackAttachment struct {
	Text   string `json:"text"`
	Color  string `json:"color"`
	Author string `json:"author_name"`
}

// slackMessage is an attachment, green or red.
func slackMessage(a Alert, info string) message {
	color := "good"
	if a.Failed {
		color = "danger"
	}
	escaped := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(a.Text)
	body, _ := json.Marshal(slackBody{[]slackAttachment{{Text: prefixed(info, escaped), Color: color, Author: "Reloader"}}}) // only texts
	return message{"application/json", body}
}
