// SPDX-License-Identifier: MIT

package entrypoint_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Every Go block of README.md and of docs is a whole program, and compiles.
func TestReadmeCompiles(t *testing.T) {
	blocks := goBlocks("README.md", readFile(t, "README.md"))
	if len(blocks) == 0 {
		t.Fatal("README.md has no Go block")
	}
	if first := blocks[0]; first.line >= 20 || !strings.Contains(first.code, "pid1.Run(") {
		t.Errorf("line %d: the first Go block should show pid1.Run before line 20", first.line)
	}
	for _, name := range documents(t) {
		if name != "README.md" {
			blocks = append(blocks, goBlocks(name, readFile(t, name))...)
		}
	}
	if err := compile(t, blocks); err != nil {
		t.Error(err)
	}
}

// README.md is read in five minutes.
func TestReadmeIsShort(t *testing.T) {
	if n := strings.Count(readFile(t, "README.md"), "\n"); n > 120 {
		t.Errorf("README.md has %d lines, want at most 120", n)
	}
}

// Broken programs show that TestReadmeCompiles can fail.
func TestReadmeWouldNotCompile(t *testing.T) {
	for name, code := range map[string]string{
		"not Go":         "package main\nfunc main() {",
		"no such symbol": "package main\nimport \"github.com/entrypoint-go/entrypoint/pid1\"\nfunc main() { pid1.Start() }\n",
		"unused":         "package main\nfunc main() { x := 1 }\n",
		"no package":     "func main() {}\n",
	} {
		t.Run(name, func(t *testing.T) {
			blocks := goBlocks("README.md", "# Title\n\n```go\n"+code+"\n```\n")
			if len(blocks) != 1 || blocks[0].line != 4 {
				t.Fatalf("got %+v, want one block that begins in line 4", blocks)
			}
			err := compile(t, blocks)
			if err == nil || !strings.Contains(err.Error(), "README.md:") {
				t.Errorf("got %v, want an error that names a line of README.md", err)
			}
		})
	}
}

func TestReadmeCommands(t *testing.T) {
	readme := readFile(t, "README.md")
	for _, command := range []string{"go run ./examples/http", "go test ./..."} {
		if !strings.Contains(readme, "\n    "+command+"\n") && !strings.Contains(readme, "\n"+command+"\n") {
			t.Errorf("README.md does not have %q on a line of its own", command)
		}
	}
}

// A block is fenced code; line is that of its first line of code.
type block struct {
	file string
	line int
	code string
}

func goBlocks(file, markdown string) []block {
	var blocks []block
	inside := false
	n := 0
	for line := range strings.Lines(markdown) {
		n++
		switch fence := strings.TrimSpace(line); {
		case !inside && fence == "```go":
			inside = true
			blocks = append(blocks, block{file: file, line: n + 1})
		case inside && fence == "```":
			inside = false
		case inside:
			blocks[len(blocks)-1].code += line
		}
	}
	return blocks
}

// compile compiles the blocks as programs of this module, without linking them. An
// overlay puts them there without writing anything into the source tree.
func compile(t *testing.T, blocks []block) error {
	t.Helper()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	overlay := map[string]string{}
	args := []string{"list", "-export", "-overlay", filepath.Join(temp, "overlay.json")}
	for i, b := range blocks {
		name := fmt.Sprintf("readme%d", i)
		file := filepath.Join(temp, name+".go")
		// The line directive makes errors point into the document.
		write(t, file, fmt.Appendf(nil, "//line %s:%d\n%s", b.file, b.line, b.code))
		overlay[filepath.Join(root, "internal", name, "main.go")] = file
		args = append(args, "./internal/"+name)
	}
	table, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(temp, "overlay.json"), table)

	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("go list -export: %w\n%s", err, out)
	}
	return nil
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
