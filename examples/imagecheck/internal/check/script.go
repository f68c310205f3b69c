// SPDX-License-Identifier: MIT

package check

import (
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// An ending is how a shell script, or the text after sh -c, ends.
type ending struct {
	exec    bool     // the shell is replaced by its last program
	implied bool     // … without exec, because this shell does that
	words   []string // that program and its arguments; nil if only a shell can tell
	last    string   // the last simple command, as it is written
	traps   bool     // it handles SIGTERM, and is taken to pass it on
	args    bool     // it uses its arguments
	splits  bool     // … and splits those that have spaces
	valid   bool     // it could be read
}

// A shell is what a shell's name says about it.
type shell struct {
	name     string
	variant  syntax.LangVariant
	replaces bool // sh -c replaces itself by the last command
}

// Measured: dash stays, bash and busybox replace themselves.
func shellOf(name string) shell {
	s := shell{name: name, variant: syntax.LangPOSIX}
	switch name {
	case "bash":
		s.variant, s.replaces = syntax.LangBash, true
	case "busybox", "ash":
		s.replaces = true
	case "ksh", "mksh":
		s.variant = syntax.LangMirBSDKorn
	}
	return s
}

// readScript reads the text of a script, or of sh -c if command says so, which
// is called with these arguments.
func (s shell) readScript(text string, args []string, command bool) ending {
	file, err := syntax.NewParser(syntax.Variant(s.variant)).Parse(strings.NewReader(text), "")
	if err != nil { // scripts for sh often have what bash has
		file, err = syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	}
	if err != nil {
		return ending{}
	}
	r := &scriptReader{functions: map[string]*syntax.Stmt{}, fixed: true}
	r.survey(file)
	e := r.list(file.Stmts, args, 0)
	if len(file.Stmts) > 0 && !e.exec && command && s.replaces && !r.end.traps {
		e.exec = s.execsLast(file.Stmts[len(file.Stmts)-1])
		e.implied = e.exec
	}
	e.valid, e.traps, e.args, e.splits = true, r.end.traps, r.end.args, r.end.splits
	return e
}

// execsLast reports whether sh -c replaces itself by this last command.
func (s shell) execsLast(stmt *syntax.Stmt) bool {
	if stmt.Background || stmt.Negated {
		return false
	}
	switch c := stmt.Cmd.(type) {
	case *syntax.CallExpr:
		return len(c.Args) > 0 && (s.name == "busybox" || len(stmt.Redirs) == 0)
	case *syntax.BinaryCmd:
		return (c.Op == syntax.AndStmt || c.Op == syntax.OrStmt) && s.execsLast(c.Y)
	}
	return false
}

type scriptReader struct {
	functions map[string]*syntax.Stmt
	fixed     bool // "$@" is what the script was called with
	end       ending
}

// survey looks for what matters wherever it stands.
func (r *scriptReader) survey(file *syntax.File) {
	syntax.Walk(file, func(node syntax.Node) bool {
		switch n := node.(type) {
		case *syntax.FuncDecl:
			if n.Name != nil {
				r.functions[n.Name.Value] = n.Body
			}
		case *syntax.ParamExp:
			if n.Param != nil && (n.Param.Value == "@" || n.Param.Value == "*" || isDigit(n.Param.Value)) {
				r.end.args = true
			}
		case *syntax.CallExpr:
			r.surveyCall(n)
		}
		return true
	})
}

func isDigit(s string) bool { return len(s) == 1 && '1' <= s[0] && s[0] <= '9' }

func (r *scriptReader) surveyCall(call *syntax.CallExpr) {
	var words []string
	for _, w := range call.Args {
		words = append(words, w.Lit())
	}
	if len(words) == 0 {
		return
	}
	switch words[0] {
	case "shift", "getopts":
		r.fixed, r.end.args = false, true
	case "set":
		r.fixed = r.fixed && !slices.Contains(words, "--")
	case "trap":
		handler := len(call.Args) > 2 && words[1] != "-" && words[1] != "--" && !isEmpty(call.Args[1])
		for _, w := range words[min(2, len(words)):] {
			r.end.traps = r.end.traps || handler && slices.Contains([]string{"TERM", "SIGTERM", "15", "term"}, w)
		}
	}
}

func isEmpty(w *syntax.Word) bool {
	text, known := literal(w)
	return known && text == ""
}

// list reads commands that are run one after the other.
func (r *scriptReader) list(stmts []*syntax.Stmt, args []string, depth int) (e ending) {
	for i, stmt := range stmts {
		call, isCall := stmt.Cmd.(*syntax.CallExpr)
		if isCall && len(call.Args) > 1 && call.Args[0].Lit() == "exec" && !stmt.Background {
			return r.call(stmt, args, depth) // nothing after it is reached
		}
		if i == len(stmts)-1 {
			return r.last(stmt, args, depth)
		}
	}
	return ending{}
}

// last reads the last command. Of a compound one, one branch that ends in exec
// is enough: no alarm is better than a false one.
func (r *scriptReader) last(stmt *syntax.Stmt, args []string, depth int) ending {
	if stmt == nil || stmt.Background || stmt.Coprocess || depth > 10 {
		return ending{}
	}
	var branches [][]*syntax.Stmt
	switch c := stmt.Cmd.(type) {
	case *syntax.CallExpr:
		return r.call(stmt, args, depth)
	case *syntax.Block:
		return r.list(c.Stmts, args, depth+1)
	case *syntax.BinaryCmd:
		if c.Op == syntax.AndStmt || c.Op == syntax.OrStmt {
			branches = [][]*syntax.Stmt{{c.X}, {c.Y}}
		}
	case *syntax.IfClause:
		for ; c != nil; c = c.Else {
			branches = append(branches, c.Then)
		}
	case *syntax.CaseClause:
		for _, item := range c.Items {
			branches = append(branches, item.Stmts)
		}
	}
	for _, b := range branches {
		if r.list(b, args, depth+1).exec {
			return ending{exec: true}
		}
	}
	return ending{}
}

// call reads a simple command.
func (r *scriptReader) call(stmt *syntax.Stmt, args []string, depth int) ending {
	call := stmt.Cmd.(*syntax.CallExpr)
	if len(call.Args) == 0 {
		return ending{}
	}
	name := call.Args[0].Lit()
	if body := r.functions[name]; body != nil && depth < 10 {
		return r.last(body, r.expand(call.Args[1:], args), depth+1)
	}
	if name != "exec" {
		var b strings.Builder
		syntax.NewPrinter().Print(&b, stmt)
		return ending{words: r.expand(call.Args, args), last: b.String()}
	}

	// bash has options: -a takes a name, -c and -l none.
	rest := call.Args[1:]
	for len(rest) > 0 && strings.HasPrefix(rest[0].Lit(), "-") {
		option := rest[0].Lit()
		rest = rest[1:]
		if option == "--" {
			break
		}
		if strings.HasSuffix(option, "a") && len(rest) > 0 {
			rest = rest[1:]
		}
	}
	if len(rest) == 0 {
		return ending{} // redirections of the shell itself
	}
	return ending{exec: true, words: r.expand(rest, args)}
}

// expand returns the words of a command, nil if the first is not known. Others
// that are not known are given as they are written.
func (r *scriptReader) expand(words []*syntax.Word, args []string) (list []string) {
	for _, w := range words {
		if all, quoted := isArguments(w); all {
			r.end.splits = r.end.splits || !quoted
			if !r.fixed && len(list) == 0 {
				return nil
			}
			if r.fixed {
				list = append(list, args...)
				continue
			}
		}
		text, known := literal(w)
		if !known && len(list) == 0 {
			return nil
		}
		list = append(list, text)
	}
	return list
}

// isArguments reports whether a word is "$@", or without quotes, or $* in either.
func isArguments(w *syntax.Word) (all, quoted bool) {
	parts := w.Parts
	if len(parts) == 1 {
		if q, ok := parts[0].(*syntax.DblQuoted); ok {
			parts, quoted = q.Parts, true
		}
	}
	if len(parts) != 1 {
		return false, false
	}
	p, ok := parts[0].(*syntax.ParamExp)
	if !ok || p.Param == nil || p.Exp != nil || p.Slice != nil || p.Length {
		return false, false
	}
	return p.Param.Value == "@" || p.Param.Value == "*", quoted && p.Param.Value == "@"
}

// literal returns what a word stands for. If it has expansions, known is false
// and the word is returned as it is written.
func literal(w *syntax.Word) (text string, known bool) {
	var b strings.Builder
	known = true
	for _, part := range w.Parts {
		switch p := part.(type) {
		case *syntax.Lit:
			b.WriteString(p.Value)
			known = known && !strings.ContainsAny(p.Value, "\\*?[~")
		case *syntax.SglQuoted:
			b.WriteString(p.Value)
			known = known && !p.Dollar
		case *syntax.DblQuoted:
			for _, inner := range p.Parts {
				lit, ok := inner.(*syntax.Lit)
				if ok {
					b.WriteString(lit.Value)
				}
				known = known && ok && !strings.Contains(lit.Value, "\\")
			}
		default:
			known = false
		}
	}
	if known {
		return b.String(), true
	}
	b.Reset()
	syntax.NewPrinter().Print(&b, w)
	return b.String(), false
}
