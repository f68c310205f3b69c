// SPDX-License-Identifier: MIT

// Package check finds out what a container of an image would run, who would be
// its PID 1 and whether a stop signal would reach the program, and what is wrong
// with that. It runs nothing.
package check

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/entrypoint-go/entrypoint/internal/inspect"
)

// FS is the file system of an image.
type FS interface {
	fs.StatFS
	fs.ReadLinkFS
	Real(name string) (string, error) // without symbolic links
	Has(base string) bool             // in any directory
}

// A Result is what is to be said about one image.
type Result struct {
	Entrypoint []string `json:"entrypoint"` // the image's identity
	Cmd        []string `json:"cmd"`        // its default arguments
	Args       []string `json:"args"`       // given in place of Cmd; nil: not given

	Runs       []string  `json:"runs"`        // what the engine executes
	PID1       string    `json:"pid1"`        // who is PID 1 once everything has started
	StopSignal string    `json:"stop_signal"` // what docker stop sends
	Reaches    Reach     `json:"reaches"`     // whether that reaches the program
	User       string    `json:"user"`
	Program    Program   `json:"program"`
	Findings   []Finding `json:"findings"`
	init       string    // the init before the program
}

// Reach says whether a stop signal reaches the program.
type Reach string

const (
	Reaches Reach = "yes"     // the program is PID 1, or what is passes signals on
	Lost    Reach = "no"      // a shell keeps it
	Unknown Reach = "unknown" // nothing is known about the program
)

// A Program is what an image is there to run.
type Program struct {
	Path    string `json:"path"`              // "" if it is unknown
	Go      string `json:"go,omitempty"`      // version of Go, if that made it
	Module  string `json:"module,omitempty"`  // its main package
	Library string `json:"library,omitempty"` // version of this library, if it imports it
	linked  linked
}

// A checker checks one image.
type checker struct {
	result Result
	config v1.Config
	arch   string // GOARCH
	fsys   FS
	files  *inspect.Files // as the entrypoint sees them
	env    map[string]string
	user   user
}

// Image checks an image of that configuration, for that platform. Args are
// given in place of CMD; nil means that none are.
func Image(config v1.Config, platform v1.Platform, fsys FS, args []string) Result {
	c := &checker{config: config, arch: platform.Architecture, fsys: fsys, env: environment(config.Env)}
	c.files = inspect.In(fsys, cmp.Or(config.WorkingDir, "/"))
	c.result = Result{
		Entrypoint: config.Entrypoint, Cmd: config.Cmd, Args: args,
		StopSignal: cmp.Or(config.StopSignal, "SIGTERM"),
		User:       cmp.Or(config.User, "root"),
		Reaches:    Unknown,
		Findings:   []Finding{}, // in JSON [], and not null
	}
	arguments := config.Cmd
	if args != nil {
		arguments = args
	}
	c.result.Runs = slices.Concat(config.Entrypoint, arguments)

	c.checkUser()
	if len(c.result.Runs) == 0 {
		c.add("no-command", `the image has neither ENTRYPOINT nor CMD: docker run needs a command`, `write ENTRYPOINT ["/app"]`)
	} else {
		c.checkInstructions(arguments)
		c.follow(c.result.Runs)
	}
	c.checkHealth()
	c.checkStopSignal()
	c.checkNeeds()
	slices.SortStableFunc(c.result.Findings, func(a, b Finding) int { return int(b.Severity) - int(a.Severity) })
	return c.result
}

// add adds a finding once.
func (c *checker) add(code, reason, fix string) {
	c.addAs(severities[code], code, reason, fix)
}

func (c *checker) addAs(severity Severity, code, reason, fix string) {
	f := Finding{code, severity, reason, fix}
	if !slices.Contains(c.result.Findings, f) {
		c.result.Findings = append(c.result.Findings, f)
	}
}

// exists reports whether the container would find the file.
func (c *checker) exists(name string) bool {
	_, err := c.files.Stat(name)
	return err == nil
}

func environment(list []string) map[string]string {
	env := map[string]string{"PATH": defaultPath}
	for _, pair := range list {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	return env
}

// defaultPath is what engines set if the image does not.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// checkInstructions checks how ENTRYPOINT and CMD go together.
func (c *checker) checkInstructions(arguments []string) {
	entry, cmd := c.config.Entrypoint, c.config.Cmd
	text, _ := inspect.ShellRuns(cmd)
	isShell := len(cmd) == 3 && text != ""
	switch {
	case len(entry) == 0 && c.isService():
		c.add("cmd-only", fmt.Sprintf("the program is CMD %s: every argument of docker run replaces it", inspect.JSONArray(cmd)),
			fmt.Sprintf("write ENTRYPOINT %s and keep CMD for default arguments", inspect.JSONArray(execWords(cmd))))
	case len(entry) > 0 && isShell && c.result.Args == nil && !c.runsArguments(entry):
		// Unless that is there to run its arguments.
		c.addAs(Warning, "shell-form-cmd", fmt.Sprintf("CMD is in shell form, so that ENTRYPOINT gets the arguments %s", inspect.JSONArray(cmd)),
			strings.Replace(execForm(cmd), "ENTRYPOINT", "CMD", 1))
	}
}

// isService reports whether an image with CMD alone is there to run a server.
// Base images, whose CMD is a shell or an interpreter, are not.
func (c *checker) isService() bool {
	return len(c.config.Cmd) > 0 && (len(c.config.ExposedPorts) > 0 || c.config.Healthcheck != nil || c.config.StopSignal != "")
}

// runsArguments reports whether an entrypoint is there to run its arguments as a
// program: a script, an init, a wrapper.
func (c *checker) runsArguments(entry []string) bool {
	if file, err := c.lookPath(entry[0]); err == nil && inspect.Shebang(inspect.Head(c.files, file)) != "" {
		return true
	}
	_, wraps := wrappers[base(entry[0])]
	text, script := inspect.ShellRuns(entry)
	return wraps || text+script != "" || c.describe(entry[0]).Library != ""
}
