// Command release makes what is released, without a container engine: the image as an OCI archive for several
// architectures, and the chart as a package with the index of a repository. Equal input gives equal output, to the byte.
//
//	release image -version v0.1.0 -out build/image.tar amd64=build/image/amd64/reloader arm64=build/image/arm64/reloader
//	release chart -out build/charts charts/reloader
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: release image|chart [flags] …")

func run(args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	out := flags.String("out", "", "What is written: the archive of the image, or the folder of charts")
	version := flags.String("version", "", "The version that the image says it has")
	if err := flags.Parse(args[1:]); err != nil {
		return fmt.Errorf("reading flags: %w", err)
	}
	if *out == "" || flags.NArg() == 0 {
		return errUsage
	}
	var made string
	var err error
	switch args[0] {
	case "image":
		var binaries map[string]string
		if binaries, err = byArchitecture(flags.Args()); err == nil {
			made, err = writeImage(*out, *version, binaries)
		}
	case "chart":
		made, err = packageChart(flags.Arg(0), *out)
	default:
		err = errUsage
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(os.Stdout, made)
	return err
}

// byArchitecture reads arguments of the form architecture=path.
func byArchitecture(args []string) (map[string]string, error) {
	binaries := map[string]string{}
	for _, arg := range args {
		architecture, path, found := strings.Cut(arg, "=")
		if !found {
			return nil, fmt.Errorf("%q is not of the form architecture=path", arg)
		}
		binaries[architecture] = path
	}
	return binaries, nil
}
