// SPDX-License-Identifier: MIT

package entrypoint_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/entrypoint-go/entrypoint"

// The library's packages, and what each may import besides the standard library.
// Nobody imports what stands below it.
var mayImport = map[string][]string{
	".":                      {},
	"internal/nstest":        {"internal/linux", "internal/sig"}, // for tests
	"internal/dockertest":    {},
	"internal/term/termtest": {},
	"internal/term":          {},
	"internal/asynclog":      {},
	"internal/errs":          {},
	"internal/began":         {},
	"internal/goroutine":     {},
	"internal/linux":         {"golang.org/x/sys/unix"},
	"internal/sig":           {"internal/linux"},
	"internal/inspect":       {"internal/linux", "internal/sig"},
	"internal/drain":         {"internal/goroutine", "internal/linux"},
	"shutdown":               {"internal/term", "internal/asynclog", "internal/began", "internal/errs", "internal/goroutine", "internal/linux"},
	"reaper":                 {"internal/linux", "golang.org/x/sys/unix"},
	"pid1": {"internal/asynclog", "internal/began", "internal/drain", "internal/errs", "internal/goroutine", "internal/inspect", "internal/linux",
		"internal/sig", "internal/term", "shutdown", "reaper"},
}

// testSupport is imported by tests, and part of no program.
var testSupport = []string{"internal/nstest", "internal/dockertest", "internal/term/termtest"}

func TestImports(t *testing.T) {
	for _, f := range library(t) {
		allowed, ok := mayImport[path.Dir(f.name)]
		if !ok {
			t.Errorf("%s is in a package that mayImport does not name", f.name)
		}
		for _, spec := range f.syntax.Imports {
			imported := strings.TrimPrefix(strings.Trim(spec.Path.Value, `"`), module+"/")
			switch {
			case isStandard(imported):
			case slices.Contains(testSupport, imported):
				t.Errorf("%s imports %s, which is for tests", f.name, imported)
			case imported == "golang.org/x/sys/unix" && !strings.HasSuffix(f.name, "_linux.go"):
				t.Errorf("%s imports %s: only *_linux.go may", f.name, imported)
			case !slices.Contains(allowed, imported):
				t.Errorf("%s imports %s: %q may import only %q", f.name, imported, path.Dir(f.name), allowed)
			}
		}
	}
}

// isStandard reports whether a path belongs to the standard library: there the
// first element has no dot. Paths of this module have lost theirs.
func isStandard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".") && mayImport[imported] == nil && first != "internal"
}

// Exits, signals and standard output belong to the program, not to a library.
func TestCalls(t *testing.T) {
	onlyIn := map[string][]string{ // packages or files
		"os.Exit":              {"internal/nstest", "pid1/exitcode.go", "pid1/command_unix.go"}, // Exit; where nothing has begun
		"log.Fatal":            {},
		"log.Fatalf":           {},
		"os.Stdout":            {"pid1/init.go"}, // hands it down
		"fmt.Print":            {},
		"fmt.Printf":           {},
		"fmt.Println":          {},
		"signal.Notify":        {"pid1", "reaper", "internal/nstest"},
		"signal.NotifyContext": {}, // swallows the second signal
		"signal.Ignore":        {}, // children would inherit it
		"signal.Reset":         {}, // touches what others have asked for

		"errors.As": {"internal/nstest"}, // links reflection: errs.AsType does not
	}
	for _, f := range library(t) {
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := selector.X.(*ast.Ident)
			if !ok {
				return true
			}
			name := pkg.Name + "." + selector.Sel.Name
			if allowed, ok := onlyIn[name]; ok && !slices.Contains(allowed, path.Dir(f.name)) && !slices.Contains(allowed, f.name) {
				t.Errorf("%s uses %s: only %q may", f.set.Position(n.Pos()), name, allowed)
			}
			return true
		})
	}
}

func TestRequirements(t *testing.T) {
	out, err := exec.Command("go", "mod", "edit", "-json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var mod struct {
		Go      string
		Require []struct{ Path string }
		Replace []any
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range mod.Require {
		got = append(got, r.Path)
	}
	slices.Sort(got)
	if want := []string{"go.uber.org/goleak", "golang.org/x/sys"}; !slices.Equal(got, want) {
		t.Errorf("go.mod requires %q, want %q", got, want)
	}
	if len(mod.Replace) != 0 || mod.Go != "1.25.0" {
		t.Errorf("go.mod has go %s and %d replace lines, want 1.25.0 and none", mod.Go, len(mod.Replace))
	}
}

// All platforms that README names type-check, beside the one on which the tests run.
// Each needs the standard library compiled once more, at least ten seconds of work:
// in CI only.
func TestPlatformsVet(t *testing.T) {
	if os.Getenv("CI") != "true" {
		t.Skip("slow with a cold build cache; CI=true runs it")
	}
	for _, platform := range []string{
		"linux/arm64", "linux/386", "darwin/arm64", "windows/amd64", "freebsd/amd64",
	} {
		t.Run(platform, func(t *testing.T) {
			goos, goarch, _ := strings.Cut(platform, "/")
			cmd := exec.Command("go", "vet", "./...")
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("go vet: %v\n%s", err, out)
			}
		})
	}
}

// A file of the library, named by its path from the module's root.
type file struct {
	name   string
	set    *token.FileSet
	syntax *ast.File
}

// library parses the files of all platforms, without tests and programs.
func library(t *testing.T) []file {
	t.Helper()
	var files []file
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == "examples" || name == "bench" || name != "." && strings.HasPrefix(name, ".")):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		set := token.NewFileSet()
		syntax, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		files = append(files, file{filepath.ToSlash(name), set, syntax})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir := range mayImport {
		if !slices.ContainsFunc(files, func(f file) bool { return path.Dir(f.name) == dir }) {
			t.Errorf("no file found that the rule for %q is about", dir)
		}
	}
	return files
}
