package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// outcome is what `go test -json` tells.
type outcome struct {
	// actions holds the last word on each test: pass, fail, skip, or run if it never ended.
	actions map[string]string
	// uncompiled is true if something did not compile, panicked if a test ended that way or ran out of time.
	uncompiled, panicked bool
	output               string
}

// read understands the events of `go test -json`. Lines that are none count as output.
func read(events io.Reader) (outcome, error) {
	o := outcome{actions: map[string]string{}}
	var output strings.Builder
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var event struct{ Action, Test, Output string }
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			event.Output = lines.Text() + "\n"
		}
		output.WriteString(event.Output)
		o.panicked = o.panicked || strings.HasPrefix(event.Output, "panic: ") || strings.HasPrefix(event.Output, "fatal error: ")
		switch event.Action {
		case "build-fail":
			o.uncompiled = true
		case "run", "pass", "fail", "skip":
			if event.Test != "" {
				o.actions[event.Test] = event.Action
			}
		}
	}
	o.output = output.String()
	return o, lines.Err()
}

// passed is nil if every one of these tests ran and passed.
func (o outcome) passed(tests []string) error { return o.all("pass", tests) }

// failed is nil if every one of these tests ran and failed by its own judgement.
func (o outcome) failed(tests []string) error {
	if o.panicked {
		return fmt.Errorf("the test panics or runs out of time, which proves nothing:\n%s", o.tail())
	}
	return o.all("fail", tests)
}

func (o outcome) all(want string, tests []string) error {
	if o.uncompiled {
		return fmt.Errorf("the code does not compile:\n%s", o.tail())
	}
	for _, name := range tests {
		switch got := o.actions[name]; got {
		case want:
		case "pass":
			return fmt.Errorf("%s passes", name)
		case "fail":
			return fmt.Errorf("%s fails:\n%s", name, o.tail())
		case "skip":
			return fmt.Errorf("%s is skipped:\n%s", name, o.tail())
		case "run":
			return fmt.Errorf("%s does not end:\n%s", name, o.tail())
		default:
			return fmt.Errorf("%s does not run:\n%s", name, o.tail())
		}
	}
	return nil
}

// tail is the end of the output: what a person needs to see why.
func (o outcome) tail() string {
	const most = 30
	lines := strings.Split(strings.TrimSpace(o.output), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ")
}
