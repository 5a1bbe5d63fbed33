package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// timeline prints what happens, for people: seconds since the start first, then what was seen.
type timeline struct {
	out    io.Writer
	began  time.Time
	colour bool
}

func newTimeline(out io.Writer, colour bool) *timeline {
	return &timeline{out: out, began: time.Now(), colour: colour}
}

const (
	bold  = "1"
	red   = "31"
	green = "32"
	faint = "2"
)

// title starts a demo.
func (t *timeline) title(text string) {
	t.print(t.paint(bold, text))
}

// section starts a step.
func (t *timeline) section(text string) {
	t.print("")
	t.print(t.paint(bold, text))
}

// done says what was expected and seen.
func (t *timeline) done(format string, args ...any) {
	t.line(t.paint(green, "✓"), fmt.Sprintf(format, args...))
}

// note says what the demo does.
func (t *timeline) note(format string, args ...any) {
	t.line(t.paint(faint, "·"), fmt.Sprintf(format, args...))
}

// fail says what was expected and not seen. Further lines of the text are indented.
func (t *timeline) fail(format string, args ...any) {
	t.print("")
	t.line(t.paint(red, "✗"), fmt.Sprintf(format, args...))
}

// detail adds to the line before.
func (t *timeline) detail(format string, args ...any) {
	t.print(indent + t.paint(faint, fmt.Sprintf(format, args...)))
}

// restart is the line of a restart: what changed, how long until the restart, and until its effect was seen.
func (t *timeline) restart(what string, restarted, seen time.Duration, effect string) {
	t.done("%-30s restarted after %s, in effect after %s: %s", what, seconds(restarted), seconds(seen), effect)
}

// indent is the width of the seconds and the mark.
const indent = "          "

func (t *timeline) line(mark, text string) {
	text = strings.ReplaceAll(text, "\n", "\n"+indent)
	t.print(fmt.Sprintf("%6.1fs %s %s", time.Since(t.began).Seconds(), mark, text))
}

func (t *timeline) print(line string) {
	_, _ = fmt.Fprintln(t.out, line)
}

func (t *timeline) paint(code, text string) string {
	if !t.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func seconds(d time.Duration) string {
	return fmt.Sprintf("%.1fs", d.Seconds())
}
