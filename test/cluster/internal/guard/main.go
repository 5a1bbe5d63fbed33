// Command guard ties processes to the life of the process that started them.
//
//	guard exec FOLDER NAME PROGRAM [ARGUMENT…]
//
// becomes PROGRAM, which the kernel kills when the thread that started guard
// ends, and records it in the state folder under NAME. It serves starters that
// offer no way to set that signal themselves.
//
//	guard sweep FOLDER
//
// waits until its standard input ends, which happens when its parent dies
// however that comes, and then removes what the cluster of that state folder left.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/flux-reloader/reloader/test/cluster/internal/sweep"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "guard:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) >= 4 && args[0] == "exec":
		if err := sweep.RecordPID(args[1], args[2], os.Getpid()); err != nil {
			return err
		}
		return become(args[3], args[3:])
	case len(args) == 2 && args[0] == "sweep":
		if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
			return fmt.Errorf("waiting for the owner's end: %w", err)
		}
		return sweep.Dir(args[1])
	default:
		return errors.New("usage: guard exec FOLDER NAME PROGRAM [ARGUMENT…] | guard sweep FOLDER")
	}
}
