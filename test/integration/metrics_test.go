package integration

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// askTimeout bounds one request, so that who polls asks again.
const askTimeout = 10 * time.Second

// ask returns what an address serves: the status in the first line, then the body.
func ask(address, path string) (string, error) {
	client := &http.Client{Timeout: askTimeout}
	response, err := client.Get("http://" + address + path)
	if err != nil {
		return "", fmt.Errorf("asking for %s: %w", path, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", fmt.Errorf("asking for %s: %w", path, err)
	}
	return response.Status + "\n" + string(body), nil
}

// scrape reads all of a controller's metrics.
func scrape(address string) (string, error) {
	answer, err := ask(address, "/metrics")
	if err != nil {
		return "", err
	}
	text, ok := strings.CutPrefix(answer, "200 OK\n")
	if !ok {
		return "", fmt.Errorf("reading metrics: %s", answer)
	}
	return text, nil
}

// gauge reads one of a controller's metrics.
func gauge(address, series string) (n int, err error) {
	text, err := scrape(address)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if number, found := strings.CutPrefix(line, series+" "); found {
			if _, err := fmt.Sscan(number, &n); err != nil {
				return 0, fmt.Errorf("reading metric %q: %w", line, err)
			}
			return n, nil
		}
	}
	return 0, fmt.Errorf("no metric %s", series)
}

// decisions reads a controller's metric of how many decisions had an outcome; none if it has no such series.
func decisions(address, reason string) (n int, err error) {
	text, err := scrape(address)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		name, number, found := strings.Cut(line, "} ")
		if found && strings.HasPrefix(name, "reloader_decisions_total{") && strings.Contains(name, `reason="`+reason+`"`) {
			if _, err := fmt.Sscan(number, &n); err != nil {
				return 0, fmt.Errorf("reading metric %q: %w", line, err)
			}
			return n, nil
		}
	}
	return 0, nil
}
