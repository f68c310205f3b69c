// SPDX-License-Identifier: MIT

// Package tool runs other programs, docker's command line above all, and makes
// images without a registry.
package tool

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// Run runs a program and returns its standard output without the white space
// around it. What it writes to stderr goes into the error.
func Run(name string, args ...string) (string, error) {
	return Output(exec.Command(name, args...))
}

// Output runs a command in the way of Run.
func Output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return strings.TrimSpace(stdout.String()), nil
}

// Docker runs docker.
func Docker(args ...string) (string, error) { return Run("docker", args...) }

// BuildImage makes an image that has nothing but the program of a Go package.
func BuildImage(image, pkg string) error {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := path.Base(pkg)
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, program), pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if _, err := Output(build); err != nil {
		return err
	}
	return ImportImage(image, "/"+program, "-C", dir, program)
}

// ImportImage makes an image of the files that tar's arguments name.
func ImportImage(image, entrypoint string, tarArgs ...string) error {
	tar := exec.Command("tar", append([]string{"-c", "--dereference"}, tarArgs...)...)
	files, err := tar.StdoutPipe()
	if err != nil {
		return err
	}
	load := exec.Command("docker", "import", "--change", "USER 65534:65534", "--change",
		fmt.Sprintf("ENTRYPOINT [%q]", entrypoint), "-", image)
	load.Stdin = files
	if err := tar.Start(); err != nil {
		return err
	}
	_, err = Output(load)
	return errors.Join(err, tar.Wait())
}
