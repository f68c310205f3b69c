// SPDX-License-Identifier: MIT

package entrypoint_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A promise is a line of docs/promises.md: a sentence of the documentation, and the
// tests that hold it.
type promise struct {
	line     int
	sentence string
	tests    []string
}

// Every sentence in docs/promises.md stands in the documentation, and every test
// exists.
func TestPromisesAreHeld(t *testing.T) {
	promises := promisesOf(readFile(t, "docs/promises.md"))
	if len(promises) < 100 {
		t.Errorf("docs/promises.md has %d lines, want 100 and more", len(promises))
	}
	for _, problem := range brokenPromises(promises, documentation(t, "./shutdown", "./pid1"), testsOf(t, ".")) {
		t.Error(problem)
	}
}

// A broken table shows that TestPromisesAreHeld can fail.
func TestPromisesWouldNotBeHeld(t *testing.T) {
	const table = "| says | held by |\n|---|---|\n| It   works. | p.TestA, p.TestB |\n| It flies. | p.TestA |\n| It works. | |\n"
	problems := brokenPromises(promisesOf(table), oneSpace("// Always.\n\t// It\n\t// works."), map[string]bool{"p.TestA": true})
	want := []string{
		"docs/promises.md:3: there is no test p.TestB",
		`docs/promises.md:4: the documentation does not say "It flies."`,
		"docs/promises.md:5: no test holds this",
	}
	if got := strings.Join(problems, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s", got)
	}
}

func brokenPromises(promises []promise, documentation string, tests map[string]bool) (problems []string) {
	for _, p := range promises {
		report := func(format string, args ...any) {
			problems = append(problems, fmt.Sprintf("docs/promises.md:%d: %s", p.line, fmt.Sprintf(format, args...)))
		}
		if !strings.Contains(documentation, p.sentence) {
			report("the documentation does not say %q", p.sentence)
		}
		if len(p.tests) == 0 {
			report("no test holds this")
		}
		for _, test := range p.tests {
			if !tests[test] {
				report("there is no test %s", test)
			}
		}
	}
	return problems
}

// promisesOf reads the rows of the tables, below their heads.
func promisesOf(markdown string) (promises []promise) {
	n, body := 0, false
	for line := range strings.Lines(markdown) {
		n++
		cells := strings.Split(strings.TrimSpace(line), "|")
		switch {
		case len(cells) != 4:
			body = false
		case strings.HasPrefix(cells[1], "---"):
			body = true
		case body:
			p := promise{line: n, sentence: oneSpace(cells[1])}
			for test := range strings.SplitSeq(cells[2], ",") {
				if test = strings.TrimSpace(test); test != "" {
					p.tests = append(p.tests, test)
				}
			}
			promises = append(promises, p)
		}
	}
	return promises
}

// documentation is what go doc says of the packages, as one line.
func documentation(t *testing.T, packages ...string) string {
	t.Helper()
	var all strings.Builder
	for _, p := range packages {
		out, err := exec.Command("go", "doc", "-all", p).Output()
		if err != nil {
			t.Fatalf("go doc %s: %v", p, err)
		}
		all.Write(out)
	}
	return oneSpace(strings.NewReplacer("[", "", "]", "").Replace(all.String())) // of links
}

// oneSpace makes white space, and what marks a comment, a single space.
func oneSpace(s string) string {
	words := strings.Fields(s)
	kept := words[:0]
	for _, w := range words {
		if w != "//" {
			kept = append(kept, w)
		}
	}
	return strings.Join(kept, " ")
}

// testsOf finds the tests of the module, as pid1.TestRun.
func testsOf(t *testing.T, root string) map[string]bool {
	t.Helper()
	tests := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				tests[filepath.Base(filepath.Dir(path))+"."+f.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}
