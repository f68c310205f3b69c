// SPDX-License-Identifier: MIT

package check

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/entrypoint-go/entrypoint/internal/inspect"
)

// checkProgram checks that the kernel would run a program, and returns its
// file. Found is false if it would not.
func (c *checker) checkProgram(argv []string) (file string, found bool) {
	name := argv[0]
	file, err := c.lookPath(name)
	if errors.Is(err, fs.ErrNotExist) || err != nil && file == "" {
		c.missing(argv, err)
		return name, false
	}
	info, err := c.files.Stat(file)
	if err != nil {
		c.missing(argv, err)
		return name, false
	}
	switch reason := inspect.ExecCause(c.files, file, fs.ErrPermission); {
	case info.IsDir():
		c.add("program-directory", fmt.Sprintf("%s cannot be executed: %s", file, reason), "name the program inside it")
		return file, false
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		c.add("program-not-executable", fmt.Sprintf("%s cannot be executed: %s", file, reason), "chmod +x it, or write COPY --chmod=755")
		return file, false
	}
	if reason := c.user.denied(c, file); reason != "" {
		c.add("program-not-executable", fmt.Sprintf("%s cannot be executed: %s", file, reason), "write COPY --chmod=755, or --chown= that user")
		return file, false
	}
	if !strings.Contains(name, "/") && !slices.Contains(strings.Split(defaultPath, ":"), path.Dir(file)) {
		c.add("program-path", fmt.Sprintf("%q is found as %s, only because the image sets PATH=%s", name, file, c.env["PATH"]), fmt.Sprintf("write the path, %q", file))
	}
	return file, c.checkHead(file)
}

// missing explains why there is no such program.
func (c *checker) missing(argv []string, err error) {
	name := argv[0]
	reason, fix := fmt.Sprintf("%q does not exist in the image", name), "copy it into the image, or correct the name"
	cause := inspect.ExecCause(c.files, name, fs.ErrNotExist)
	switch words := strings.Fields(name); {
	case cause != "":
		reason = fmt.Sprintf("%q does not exist: %s", name, cause)
	case len(words) > 1 && c.exists(words[0]):
		fix = fmt.Sprintf("write each word as its own: %s", inspect.JSONArray(append(words, argv[1:]...)))
	case strings.Contains(name, "$"):
		fix = "write the name: exec form does not expand variables"
	case !strings.Contains(name, "/"):
		reason = fmt.Sprintf("%q is in none of the directories of PATH=%s", name, c.env["PATH"])
	case !errors.Is(err, fs.ErrNotExist):
		reason = fmt.Sprintf("%q cannot be found: %v", name, err)
	}
	c.add("program-missing", reason, fix)
}

// checkHead checks what the kernel reads of a program, and what it needs.
func (c *checker) checkHead(file string) bool {
	head := inspect.Head(c.files, file)
	machine, isELF := inspect.Machine(head)
	before := len(c.result.Findings)
	switch {
	case isELF && !runsOn(machine, c.arch):
		c.add("wrong-architecture", fmt.Sprintf("%s is built for %s and the image is for %s: exec format error", file, machine, c.arch),
			fmt.Sprintf("build it for this platform: GOARCH=%s, in a Dockerfile GOARCH=$TARGETARCH", c.arch))
	case isELF:
		c.checkELF(file)
	case bytes.HasPrefix(head, []byte("#!")):
		c.checkShebang(file, head)
	default:
		cause := inspect.ExecCause(c.files, file, syscall.ENOEXEC)
		c.add("program-format", fmt.Sprintf("%s: exec format error: %s", file, cause), "write #!/bin/sh as the first line of a shell script; build a program for Linux")
	}
	return !slices.ContainsFunc(c.result.Findings[before:], func(f Finding) bool { return f.Severity == Error })
}

// runsOn reports whether programs for one architecture run on another.
func runsOn(machine, arch string) bool {
	return machine == arch || arch == "" || machine == "386" && arch == "amd64"
}

// checkELF checks the loader and the libraries of a program.
func (c *checker) checkELF(file string) {
	f, err := c.files.Open(file)
	if err != nil {
		c.add("program-format", fmt.Sprintf("%s cannot be read: %v", file, err), "build it again")
		return
	}
	defer f.Close()
	program, err := elf.NewFile(f)
	if err != nil || program.Type != elf.ET_EXEC && program.Type != elf.ET_DYN {
		c.add("program-format", fmt.Sprintf("%s is damaged, or not a program (a library or an object file): exec format error", file), "build it again")
		return
	}
	loader := ""
	for _, need := range inspect.Needs(c.files, file) {
		if need.What == "loader" {
			loader = need.File
		}
	}
	if loader == "" {
		return
	}
	if !c.exists(loader) {
		code, fix := "loader-missing", "link it statically, or use the base image that it was built for"
		if c.describe(file).Go != "" {
			code, fix = "go-dynamic", "build it with CGO_ENABLED=0, or use the base image that it was built for"
		}
		c.add(code, fmt.Sprintf("%s cannot be executed: no such file or directory: %s", file, inspect.ExecCause(c.files, file, fs.ErrNotExist)), fix)
		return
	}
	libraries, _ := program.ImportedLibraries()
	for _, library := range libraries {
		if !strings.Contains(library, "/") && !c.fsys.Has(library) && !ofMusl(loader, library) {
			c.add("library-missing", fmt.Sprintf("%s needs the library %s, which is nowhere in the image", file, library), "install it, or link statically (Go: CGO_ENABLED=0)")
		}
	}
}

// ofMusl reports whether a library is one that musl's loader is itself.
func ofMusl(loader, library string) bool {
	name, _, _ := strings.Cut(library, ".")
	return strings.Contains(loader, "ld-musl") && slices.Contains([]string{"libc", "libpthread", "librt", "libm", "libdl", "libutil", "libxnet"}, name)
}

// checkShebang checks the first line of a script.
func (c *checker) checkShebang(file string, head []byte) {
	line, _, ends := bytes.Cut(head, []byte("\n"))
	interpreter, arg := inspect.Shebang(head), inspect.ShebangArg(head)
	switch {
	case strings.HasSuffix(string(line), "\r"):
		c.add("shebang-crlf", fmt.Sprintf("%s: its first line %q ends in CRLF, and the kernel takes the carriage return for a part of the name", file, line), "save it with Unix line ends (LF); in .gitattributes: *.sh text eol=lf")
	case !ends && len(head) == inspect.HeadSize:
		c.add("shebang-too-long", fmt.Sprintf("%s: its first line is longer than the %d bytes that the kernel reads", file, inspect.HeadSize), "shorten the path of the interpreter")
	case interpreter == "":
		c.add("program-format", fmt.Sprintf("%s: exec format error: its #! line names no interpreter", file), "write #!/bin/sh")
	case !c.exists(interpreter):
		c.add("interpreter-missing", fmt.Sprintf("%s cannot be executed: no such file or directory: %s", file, inspect.ExecCause(c.files, file, fs.ErrNotExist)), c.insteadOf(interpreter))
	case base(interpreter) == "env":
		c.checkEnv(file, arg)
	default:
		c.checkInterpreter(file)
	}
}

// insteadOf proposes an interpreter that the image has.
func (c *checker) insteadOf(interpreter string) string {
	if file, err := c.lookPath(base(interpreter)); err == nil {
		return "write #!" + file
	}
	if shellNames[base(interpreter)] && c.exists("/bin/sh") {
		return fmt.Sprintf("install %s, or write #!/bin/sh and what that shell understands", base(interpreter))
	}
	return fmt.Sprintf("install %s, or write the entrypoint in Go", base(interpreter))
}

// checkInterpreter checks the interpreter itself, which may be a script or a
// program that lacks something in turn.
func (c *checker) checkInterpreter(file string) {
	for _, need := range inspect.Needs(c.files, file)[1:] {
		if !c.exists(need.File) {
			c.add(need.What+"-missing", fmt.Sprintf("%s cannot be executed: %s", file, inspect.ExecCause(c.files, file, fs.ErrNotExist)), "repair or replace the interpreter")
			return
		}
	}
	head := inspect.Head(c.files, inspect.Shebang(inspect.Head(c.files, file)))
	if machine, isELF := inspect.Machine(head); isELF && !runsOn(machine, c.arch) {
		c.add("wrong-architecture", fmt.Sprintf("the interpreter of %s is built for %s and the image is for %s", file, machine, c.arch), "build the image for one platform: docker build --platform")
	}
}

// checkEnv checks what /usr/bin/env is told, which gets one argument from the kernel.
func (c *checker) checkEnv(file, arg string) {
	words := strings.Fields(arg)
	if len(words) > 1 && words[0] != "-S" && !strings.HasPrefix(words[0], "-S") {
		c.add("shebang-env", fmt.Sprintf("%s: env looks for a program called %q, since the kernel passes one argument", file, arg), fmt.Sprintf("write #!/usr/bin/env -S %s", arg))
		return
	}
	name := last(words)
	if len(words) > 1 {
		name = words[1]
	}
	if name == "" || strings.HasPrefix(name, "-") || strings.Contains(name, "=") {
		return
	}
	if _, err := c.lookPath(name); err != nil {
		c.add("shebang-env", fmt.Sprintf("%s: env finds no %q in PATH=%s", file, name, c.env["PATH"]), c.insteadOf(name))
	}
}
