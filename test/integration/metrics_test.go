package integration

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// scrape reads all of a controller's metrics.
func scrape(address string) (string, error) {
	response, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		return "", fmt.Errorf("reading metrics: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return "", fmt.Errorf("reading metrics: %w", err)
	}
	return string(text), nil
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
