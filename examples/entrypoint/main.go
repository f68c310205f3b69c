// SPDX-License-Identifier: MIT

// Entrypoint is what a docker-entrypoint.sh becomes in an image without a
// shell: it checks the environment, renders a configuration file, makes a
// directory, and then becomes the program that CMD names.
//
//	ENTRYPOINT ["/entrypoint"]
//	CMD ["/app", "--config", "/run/app/app.conf"]
//
// The shell's exec "$@" is pid1.Exec: same process, same PID 1, and the program
// gets its signals as if it had been started first.
package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/entrypoint-go/entrypoint/pid1"
)

//go:embed app.conf.tmpl
var config string

func main() {
	pid1.Exit(entrypoint(os.Args[1:])) // it returns only if it fails
}

func entrypoint(argv []string) error {
	if err := pid1.RequireEnv("APP_DIR", "DATABASE_URL", "LISTEN"); err != nil {
		return err
	}
	dir := os.Getenv("APP_DIR")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("directory $APP_DIR: %w", err)
	}
	if err := render(filepath.Join(dir, "app.conf"), config); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	return pid1.Exec(argv...)
}

// render writes the file that text becomes with the environment as its data. A
// variable that the template names and the environment lacks is an error.
func render(file, text string) error {
	t, err := template.New("app.conf.tmpl").Option("missingkey=error").Parse(text)
	if err != nil {
		return err
	}
	env := make(map[string]string)
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
	}
	var out strings.Builder
	if err := t.Execute(&out, env); err != nil {
		return err
	}
	return writeSecret(file, out.String())
}

// writeSecret writes a file that only this user can read: it has the database's
// password in it. os.WriteFile would keep the mode of a file that exists, and whoever
// has that open.
func writeSecret(file, text string) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".new-*") // with mode 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
