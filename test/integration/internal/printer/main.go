// Command printer is the workload of the integration tests on a real node: it writes what it was started with to standard
// output, as a process does that reads its configuration once, and then does nothing until it is told to end.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Its only arguments are the names of a variable and of a file.
func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "printer:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want a variable and a file, got %d arguments", len(args))
	}
	content, err := os.ReadFile(args[1])
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	fmt.Printf("variable=%s file=%s\n", os.Getenv(args[0]), content)
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	<-end
	return nil
}
