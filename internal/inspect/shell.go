// SPDX-License-Identifier: MIT

package inspect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
)

// shells are the programs that run sh -c or a script. Those that replace
// themselves by the last command (bash, busybox) are met as PID 1 only with
// more than one command, and forward no signal then either.
var shells = []string{"sh", "ash", "bash", "dash", "ksh", "mksh", "zsh"}

// ShellRuns returns what the shell with the command line args runs: the text
// after -c, or a script. Both are "" for a shell that reads its input, and for
// any other program.
func ShellRuns(args []string) (text, script string) {
	args = withoutBusybox(args)
	if len(args) == 0 || !slices.Contains(shells, path.Base(strings.TrimPrefix(args[0], "-"))) {
		return "", ""
	}

	// The options come first: c may be one of several letters, and o takes the
	// next argument (POSIX sh).
	command := false
	for i := 1; i < len(args); i++ {
		option := args[i]
		switch {
		case len(option) > 1 && (option[0] == '-' || option[0] == '+'):
			command = command || option[0] == '-' && option[1] != '-' && strings.Contains(option, "c")
			if option[1] != '-' && strings.HasSuffix(option, "o") {
				i++
			}
		case option == "-":
		case command:
			return option, ""
		default:
			return "", option
		}
	}
	return "", ""
}

// withoutBusybox returns the command line of sh for "busybox sh".
func withoutBusybox(args []string) []string {
	if len(args) > 1 && path.Base(args[0]) == "busybox" {
		return args[1:]
	}
	return args
}

// ExecForm returns what to write instead of a shell form of ENTRYPOINT. args is
// the shell's command line.
func ExecForm(args []string) string {
	const control = ";|&(){}`\n"
	text, _ := ShellRuns(args)
	words, plain := SplitPlain(text)
	first := ""
	if fields := strings.Fields(text); len(fields) > 0 {
		first = fields[0]
	}
	switch {
	case plain:
		return fmt.Sprintf("write ENTRYPOINT %s (exec form)", JSONArray(words))
	case strings.ContainsAny(text, control), strings.Contains(first, "="), slices.Contains(compound, first):
		return `put exec before the last command, or write ENTRYPOINT ["program", "argument"] (exec form)`
	}

	// One command with expansions, which need the shell but not as PID 1.
	shell := strings.TrimPrefix(withoutBusybox(args)[0], "-")
	return fmt.Sprintf("write ENTRYPOINT %s", JSONArray([]string{shell, "-c", "exec " + strings.TrimSpace(text)}))
}

// compound are the words that begin a command that exec cannot run.
var compound = []string{"", "!", "[[", "case", "exec", "for", "function", "if", "select", "time", "until", "while"}

// SplitPlain splits a command line without expansions into words, as a shell
// would. ok is false for an empty one and for one that only a shell can read.
func SplitPlain(text string) (words []string, ok bool) {
	var word strings.Builder
	inWord := false
	quote := rune(0)
	for _, r := range text {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == '\'':
			word.WriteRune(r)
		case strings.ContainsRune("$`\\!", r):
			return nil, false
		case quote == '"':
			word.WriteRune(r)
		case r == '"' || r == '\'':
			quote, inWord = r, true
		case r == ' ' || r == '\t':
			if inWord {
				words = append(words, word.String())
			}
			word.Reset()
			inWord = false
		case strings.ContainsRune("\n;|&<>(){}*?[]#~", r):
			return nil, false
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if inWord {
		words = append(words, word.String())
	}
	ok = quote == 0 && len(words) > 0 && !strings.Contains(words[0], "=") && !slices.Contains(compound, words[0])
	return words, ok
}

// JSONArray returns the exec form, which Docker reads as JSON.
func JSONArray(words []string) string {
	var quoted []string
	for _, word := range words {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		enc.Encode(word) // a string cannot fail
		quoted = append(quoted, strings.TrimSpace(b.String()))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
