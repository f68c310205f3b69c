// SPDX-License-Identifier: MIT

// Command imagecheck checks a container image before it runs: what would be
// started, whether that can be, who would be PID 1, and whether a stop signal
// would reach the program. It runs nothing.
//
//	docker save app:latest | imagecheck
//	imagecheck app.tar                     # also an OCI layout, a directory or a tar
//	imagecheck -args 'echo hello' app.tar  # what would docker run app echo hello run?
//
// docs/imagecheck.md has all findings.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/entrypoint-go/entrypoint/examples/imagecheck/internal/check"
	"github.com/entrypoint-go/entrypoint/examples/imagecheck/internal/image"
	"github.com/entrypoint-go/entrypoint/internal/inspect"
	"github.com/entrypoint-go/entrypoint/internal/term"
)

// Exit codes.
const (
	clean    = 0
	found    = 1 // findings as bad as -fail says, or worse
	unusable = 2 // not an image, or not our command line
)

func main() {
	debug.SetGCPercent(50) // a million files are many small things to keep
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// options are what the command line says.
type options struct {
	archive string
	args    []string // nil: not given
	json    bool
	fail    check.Severity
}

func run(arguments []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o, err := parse(arguments, stdin, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return clean
	}
	var r *report
	if err == nil {
		told, done := progress(stderr)
		r, err = examine(o, stdin, told)
		done()
	}
	if err != nil {
		fmt.Fprintln(stderr, "imagecheck:", err)
		return unusable
	}
	if o.json {
		err = r.writeJSON(stdout)
	} else {
		err = r.write(stdout, colours(stdout))
	}
	if err != nil {
		fmt.Fprintln(stderr, "imagecheck:", err)
		return unusable
	}
	if r.worst() >= o.fail {
		return found
	}
	return clean
}

func parse(arguments []string, stdin io.Reader, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("imagecheck", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: imagecheck [flags] [archive]\n\nWithout an archive, or with -, it reads what docker save writes from standard input.")
		flags.PrintDefaults()
	}
	fail := flags.String("fail", "warning", "exit with 1 for findings of this `severity` or worse: note, warning or error")
	flags.BoolVar(&o.json, "json", false, "write JSON")
	args := flags.String("args", "", "the `arguments` that docker run would have after the image's name")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	switch *fail {
	case "note":
		o.fail = check.Note
	case "warning":
		o.fail = check.Warning
	case "error":
		o.fail = check.Error
	default:
		return o, fmt.Errorf("-fail is %q: write note, warning or error", *fail)
	}
	given := false
	flags.Visit(func(f *flag.Flag) { given = given || f.Name == "args" })
	if given && strings.TrimSpace(*args) == "" {
		o.args = []string{}
	} else if given {
		words, ok := inspect.SplitPlain(*args)
		if !ok {
			return o, fmt.Errorf("-args is %q: write plain words, quoted where they have spaces", *args)
		}
		o.args = words
	}

	o.archive = "-"
	switch flags.NArg() {
	case 0:
		if f, ok := stdin.(*os.File); ok && term.IsTerminal(f) {
			return o, errors.New("no archive: name one, or write docker save app:latest | imagecheck")
		}
	case 1:
		o.archive = flags.Arg(0)
	default:
		return o, fmt.Errorf("%d archives: name one", flags.NArg())
	}
	return o, nil
}

// examine checks all images of the archive.
func examine(o options, stdin io.Reader, told image.Progress) (*report, error) {
	archive, err := image.Open(o.archive, stdin)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.archive, err)
	}
	defer archive.Close()

	r := &report{Findings: []check.Finding{}, Absent: archive.Absent}
	groups := map[string][]check.Platform{}
	var order []string
	for _, i := range archive.Images {
		result, err := checkImage(&i, o.args, told)
		if err != nil {
			return nil, fmt.Errorf("%s: image %s: %w", o.archive, i.Digest, err)
		}
		r.Images = append(r.Images, imageReport{i.Name, i.Platform.String(), i.Digest, result})
		if groups[i.Group] == nil {
			order = append(order, i.Group)
		}
		groups[i.Group] = append(groups[i.Group], check.Platform{Name: i.Platform.String(), Config: i.Config, Result: result})
	}
	for _, name := range order {
		r.Findings = append(r.Findings, check.Platforms(groups[name])...)
	}
	return r, nil
}

func checkImage(i *image.Image, args []string, told image.Progress) (check.Result, error) {
	files, err := i.Files(wanted(i, args), told)
	if err != nil {
		return check.Result{}, err
	}
	defer files.Close()
	return check.Image(i.Config, i.Platform, files, args), nil
}

// wanted says which files will be read, by the last elements of their paths:
// whatever commands name, and what most commands need.
func wanted(i *image.Image, args []string) func(base string) bool {
	names := []string{"sh", "bash", "dash", "busybox", "env", "passwd", "group"}
	for _, word := range slices.Concat(i.Config.Entrypoint, i.Config.Cmd, args) {
		for field := range strings.FieldsSeq(word) {
			names = append(names, strings.Trim(field[strings.LastIndex(field, "/")+1:], `'"`))
		}
	}
	return func(base string) bool { return slices.Contains(names, base) }
}
