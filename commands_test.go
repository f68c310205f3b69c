// SPDX-License-Identifier: MIT

package entrypoint_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The commands of README.md, docs and the comments of the examples, and what
// TestReplay does with each. A command without a rule fails TestCommands.

// How a command is replayed.
type how int

const (
	runs      how = iota // it ends with status 0
	serves               // it serves and answers until the end of its block, and ends with status 0 on SIGINT
	elsewhere            // it does not run: why names the test or the phase of .ci/run that has the same
	mention              // it is a name in a sentence, and no whole command
)

// A rule is for the commands that match its pattern, unless an earlier one is.
type rule struct {
	pattern string
	how     how
	instead string // what runs in place of what matches the pattern; "": as it is
	in      string // folder of the clone, or reader; "": see command.folder
	want    string // pattern of the output, with what the first one's groups matched
	why     string // why it does not run as it is
}

// reader is a folder of the reader's: a module with README.md's first program and
// its Dockerfile.
const reader = "reader"

var rules = []rule{
	{pattern: `^(docker (run|stop)|docker run --init|go vet|go install|curl --http2|kubectl delete --grace-period=2|kubectl describe pod)$`, how: mention},

	// What a reader tries first.
	{pattern: `^go get \S+$`, in: reader, instead: `$0 && go vet . && go mod vendor && docker build -t app . && docker save app >app.tar`,
		why: "the program has to build, too; imagecheck reads its image later, which needs vendor until the module is published"},
	{pattern: `^go run \./examples/\w+|^go run \. `, how: serves},
	{pattern: `^go doc \S+$`, want: `(?m)^package \w+`},
	{pattern: `^go tool dist list$`, want: `(?m)^linux/arm64$`},
	{pattern: `^curl \S+/slow\?d=2s`, want: `^done after 2s\n`},
	{pattern: `^curl \S+/run `, want: `^7\n`},
	{pattern: `^curl \S+/zombies `, want: `^\d+\n`, why: "0 only where PID 1 collects orphans, which not every machine's does"},
	{pattern: `^curl -d 'a note' \S+$`},

	// Images and containers.
	{pattern: `Dockerfile\.node|entrypoint-node`, how: elsewhere, why: "it needs node:22-slim from a registry: TestDocker of examples/init builds and runs it on what there is"},
	{pattern: `^docker build -t app \.$`, in: reader},
	{pattern: `^docker buildx `, how: elsewhere, why: "not every engine has buildx: TestIndex reads such an archive"},
	{pattern: `^docker build -f examples/`},
	{pattern: `^podman build `, instead: "docker build ", why: "Docker reads the same file, and Podman need not be there"},
	{pattern: `^docker run .* migrate\b`},
	{pattern: `^docker run .* inspect\b`, want: "PID"},
	{pattern: `^docker exec .* inspect\b`, want: "PID 1"},
	{pattern: `^docker run -`, how: serves},
	{pattern: `^docker compose .* up `, how: serves},
	{pattern: `^docker compose .* down -v$`},
	{pattern: `^docker (stack|service) `, how: elsewhere, why: "it needs a swarm: TestStackRuns, in .ci/run long"},

	// imagecheck, with the reader's image.
	{pattern: `^imagecheck -json .* \| jq `, in: reader},
	{pattern: `^(docker save app\S* \| \S*)?imagecheck\b`, in: reader, want: `^app:latest +linux/`},
	{pattern: `^git clone --depth 1 https://github\.com/entrypoint-go/entrypoint /tmp/entrypoint$`},
	{pattern: `^go -C \S+ build -o \S+ \.$`},

	// Where another program starts the examples.
	{pattern: `^kubectl (apply|wait) `, how: elsewhere, why: "it needs a cluster: TestKubernetesHTTP and TestKubernetesJob read the files as the API server does"},
	{pattern: `^systemctl `, how: elsewhere, why: "systemd need not run this machine: TestSystemdUnits, TestSocketActivation and TestQuadlet"},
	{pattern: `^CGO_ENABLED=0 go build -o /usr/local/bin/`},
	{pattern: `^cp \S+ /etc/`},

	// Tests and measurements.
	{pattern: `^(ENTRYPOINT_LONG=1 )?go test (-short |-p 1 -tags docker )?\./\.\.\.`, how: elsewhere, why: ".ci/run unit, previous, docker"},
	{pattern: `^((?:cd \S+ && )?go (?:-C \S+ )?test .*)-run '?([\w|]+)'?`, instead: "${1}-list '$2'", want: `(?m)^\w*($2)$$`,
		why: "it takes minutes: flags and names are checked here; .ci/run nested and kernel run the tests"},
	{pattern: `^\.ci/run((?: \w+)*)`, instead: "for phase in$1; do grep \"^phase_$$phase()\" .ci/run || exit; done", why: "this is a part of it: its phases are checked"},
	{pattern: `^cd bench && go run \./\w+`},
	{pattern: `^go run \./docs$`, in: "bench"},
	{pattern: `^go run \./rollout -build IMAGE`, in: "bench", instead: "go run ./rollout -build entrypoint-rollout"},
	{pattern: `^go run \./(?:drain|reaper|rollout|size)(?: -(?:only (\w+)[\w,]*|\w+ ?[^-#\s]*))*`, in: "bench", instead: "$0 -h", want: `measurement.*$1`,
		why: "measurements take long or need a cluster: flags and names are checked here; TestShort, TestSize and TestSwarm measure"},
}

// ruleFor is the rule of a command, or nil.
func ruleFor(text string) *rule {
	for i := range rules {
		if regexp.MustCompile(rules[i].pattern).MatchString(text) {
			return &rules[i]
		}
	}
	return nil
}

// notCommands are blocks by their beginnings.
var notCommands = regexp.MustCompile(strings.Join([]string{
	`^[\w./-]+:`, // YAML, and what programs print
	`^\[|^#!`,    // unit files, scripts
	`^(FROM|COPY|ENTRYPOINT|CMD|HEALTHCHECK)\s`,              // Dockerfiles
	`^[\w, ]+ :?= |^var |^(go )?\w+(\.\w+)+( =|\()| \{( |$)`, // Go, protobuf
	`^(\d|[A-Z]+\d? |v\d|goroutine )|─`,                      // tables and drawings
}, "|"))

// programs are what a command between backquotes begins with.
var programs = regexp.MustCompile(`^(\.ci/run|cd|cp|curl|docker|git|go|helm|imagecheck|jq|kubectl|make|podman|sudo|systemctl|wget)( |$)`)

// A command stands in a document.
type command struct {
	file   string
	line   int
	text   string
	block  int    // the line of the first one of its block
	folder string // where it runs, if its rule does not say
}

// commands are those of all documents, in the order in which they are replayed.
func commands(t *testing.T) (all []command) {
	t.Helper()
	files := documents(t)
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != "." && strings.HasPrefix(path, "."), entry.Name() == "testdata", path == "tmp":
			return fs.SkipDir
		case strings.HasSuffix(path, "_test.go"), entry.IsDir():
			return nil
		}
		switch filepath.Ext(path) {
		case ".md", ".go", ".yaml", ".service", ".socket", ".container", ".node", "":
			if !slices.Contains(files, path) {
				files = append(files, path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, ".ci/run") {
		switch file {
		case "CHANGELOG.md", "LICENSE":
			continue // of the past; no commands
		case "bench/RESULTS.md":
			continue // docs/measured.md has the same
		}
		for _, c := range commandsOf(file, readFile(t, file)) {
			c.folder = folder(c, all)
			all = append(all, c)
		}
	}
	return all
}

var inFolder = regexp.MustCompile(`# (?:in (\w\S+)|at the root of the repository)$`)

// folder is what the first command of the block says in its comment ("# in
// examples/deploy"), that of the module for Go files, or else the root.
func folder(c command, before []command) string {
	if n := len(before) - 1; n >= 0 && before[n].file == c.file && before[n].block == c.block {
		return before[n].folder
	}
	if match := inFolder.FindStringSubmatch(c.text); match != nil {
		return filepath.Clean(match[1])
	}
	dir := filepath.Dir(c.file)
	for strings.HasSuffix(c.file, ".go") && dir != "." {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	return "."
}

// commandsOf finds the commands of a document.
func commandsOf(file, text string) []command {
	p := commandParser{file: file}
	for i, line := range strings.Split(text, "\n") {
		if strings.HasSuffix(file, ".md") {
			p.markdown(line, i+1)
		} else {
			p.comment(line, i+1)
		}
	}
	return p.found
}

type commandParser struct {
	file  string
	found []command
	fence string // the language of a fenced block, with its backquotes
	block int    // the line in which the block began; 0: outside
	not   bool   // the block has no commands
	after bool   // only blank lines since the block
	under int    // the indentation of "script:" or "run: |" in YAML; -1: outside
}

var backquoted = regexp.MustCompile("`[^`]+`")

func (p *commandParser) markdown(line string, n int) {
	trimmed := strings.TrimSpace(line)
	switch {
	case strings.HasPrefix(trimmed, "```"):
		p.prose()
		if p.fence != "" {
			p.fence = ""
		} else {
			p.fence = trimmed
		}
		if p.fence == "```yaml" {
			p.block, p.under = n, -1
		}
	case p.fence == "```yaml":
		p.workflow(line, n)
	case p.fence == "```" && trimmed != "", p.fence == "```sh" && trimmed != "":
		p.code(trimmed, n)
	case p.fence == "```go", p.fence == "```dockerfile": // TestReadmeCompiles, TestReadmeImage
	case trimmed == "":
		p.blank()
	case p.fence != "":
		p.add("a block of "+strings.Trim(p.fence, "`"), n)
	case strings.HasPrefix(line, "    "):
		p.code(line[4:], n)
	default:
		p.prose()
		p.sentence(line, n)
	}
}

// sentence is a line of prose, each command in which is a block of its own.
func (p *commandParser) sentence(line string, n int) {
	if strings.Count(line, "`")%2 != 0 {
		p.add("backquotes that are closed in another line", n)
	}
	for _, span := range backquoted.FindAllString(line, -1) {
		if span = strings.Trim(span, "`"); programs.MatchString(span) && strings.ContainsAny(span, " /") && !notCommands.MatchString(span) {
			p.block = n
			p.add(span, n)
			p.block = 0
		}
	}
}

var (
	codeInComment  = regexp.MustCompile(`^\s*(?://\t|#     )(.*)`)
	blankInComment = regexp.MustCompile(`^\s*(?://|#)?$`)
)

func (p *commandParser) comment(line string, n int) {
	if match := codeInComment.FindStringSubmatch(line); match != nil {
		p.code(match[1], n)
	} else if blankInComment.MatchString(line) {
		p.blank()
	} else {
		p.prose()
	}
}

// code is a line of a block. What follows a block that has no commands after
// blank lines only has none either, unless it begins with a program.
func (p *commandParser) code(line string, n int) {
	if n := len(p.found) - 1; p.block > 0 && !p.not && n >= 0 && strings.HasSuffix(p.found[n].text, "\\") {
		p.found[n].text += "\n" + line
		return
	}
	if p.block == 0 {
		p.not = p.after && p.not && !programs.MatchString(line) || notCommands.MatchString(line)
		p.block = n
	}
	if !p.not {
		p.add(line, n)
	}
}

func (p *commandParser) blank() { p.after, p.block = p.block > 0 || p.after, 0 }
func (p *commandParser) prose() { p.after, p.block = false, 0 }

var scripts = regexp.MustCompile(`^(\s*(?:- )?)(?:run|script):\s*(.*)$`)

// workflow is a line of a CI system's file.
func (p *commandParser) workflow(line string, n int) {
	trimmed := strings.TrimSpace(line)
	indentation := len(line) - len(strings.TrimLeft(line, " "))
	if p.under >= 0 && indentation > p.under {
		p.add(strings.TrimPrefix(trimmed, "- "), n)
		return
	}
	p.under = -1
	if match := scripts.FindStringSubmatch(line); match != nil {
		if text := strings.Trim(match[2], "|>"); text != "" {
			p.add(text, n)
		} else {
			p.under = len(match[1])
		}
	}
}

func (p *commandParser) add(text string, n int) {
	p.found = append(p.found, command{file: p.file, line: n, text: strings.TrimSpace(text), block: p.block})
}

// Every command has a rule, every rule a command, and what is said to be tested
// elsewhere has that test.
func TestCommands(t *testing.T) {
	used := map[*rule]bool{}
	for _, c := range commands(t) {
		r := ruleFor(c.text)
		if r == nil {
			t.Errorf("%s:%d: no rule for `%s`", c.file, c.line, c.text)
		}
		used[r] = true
	}
	tests := testsOf(t, ".")
	for i := range rules {
		if !used[&rules[i]] {
			t.Errorf("there is no command any more for the rule %s", rules[i].pattern)
		}
		for _, name := range regexp.MustCompile(`\bTest\w+`).FindAllString(rules[i].why, -1) {
			exists := false
			for test := range tests {
				exists = exists || strings.HasSuffix(test, "."+name)
			}
			if !exists {
				t.Errorf("the rule %s names %s: there is no such test", rules[i].pattern, name)
			}
		}
	}
}

func TestCommandsOf(t *testing.T) {
	for _, tt := range []struct {
		name, file, text string
		want             []string
	}{
		{"indented", "a.md", "Text:\n\n    helm install x\n    make  # all\n\nText.\n", []string{"helm install x", "make  # all"}},
		{"continued", "a.md", "\n    docker run \\\n        x\n    y\n", []string{"docker run \\\n    x", "y"}},
		{"output", "a.md", "\n    x\n\n    app:latest  linux\n      1\n\n    y\n\nText.\n\n    z\n", []string{"x", "z"}},
		{"fenced", "a.md", "```sh\nx\n```\n```go\ny\n```\n", []string{"x"}},
		{"not known", "a.md", "```perl\nz\n```\nIn `a\nb`.", []string{"a block of perl", "backquotes that are closed in another line", "backquotes that are closed in another line"}},
		{"CI", "a.md", "```yaml\n- run: a b\n  with: {run: x}\n- name: c\n  run: |\n    d\n    e\n- uses: f\njob:\n  script:\n    - g\n  needs: [h]\n```\n",
			[]string{"a b", "d", "e", "g"}},
		{"in a sentence", "a.md", "Call `go x` and `db.Close()`, not `Run`, with `go` and `.ci/run`.\n", []string{"go x", ".ci/run"}},
		{"Go", "a.go", "// A does:\n//\n//\tgo run .  # x\n//\tb\n//\n//\tx := 1\n\nfunc f() {\n\tc()\n}\n", []string{"go run .  # x", "b"}},
		{"Dockerfile", "Dockerfile", "# A:\n#\n#     docker a\n#\n# b\n#     COPY x y\n#     z\nFROM x\n", []string{"docker a"}},
	} {
		var got []string
		for _, c := range commandsOf(tt.file, tt.text) {
			got = append(got, c.text)
			first, _, _ := strings.Cut(c.text, "\n")
			if line := strings.Split(tt.text, "\n")[c.line-1]; tt.name != "not known" && !strings.Contains(line, first) {
				t.Errorf("%s: %q is not in line %d, %q", tt.name, first, c.line, line)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
