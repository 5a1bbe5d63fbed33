package notify

import (
	"encoding/json"
	"strings"
)

type chatBody struct {
	Text string `json:"text"`
}

// chatMessage is a text, for Microsoft Teams and Google Chat. Brackets begin a mention or markup there, and have no
// spelling that both read.
func chatMessage(a Alert, info string) message {
	escaped := strings.NewReplacer("<", "‹", ">", "›").Replace(a.Text)
	body, _ := json.Marshal(chatBody{prefixed(info, escaped)}) // only a text
	return message{"application/json; charset=utf-8", body}
}
