// SPDX-License-Identifier: MIT

package shutdown

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/errs"
	"github.com/entrypoint-go/entrypoint/internal/term"
)

// Widths of the timeline, in columns.
const (
	barWidth     = 30 // of a bar as long as the whole shutdown
	maxNameWidth = 24
	maxCause     = 40
)

// String is the timeline: a headline, and a line for each step with its start,
// state, time, budget, and a bar on a common scale.
//
//	shutdown: SIGTERM, 30s grace, 7.3s taken, 1 of 5 steps failed
//	   0.000  delay       ok      5.001s of  6.0s  ████████████████████▌
//	   5.001  http :8080  ok      0.022s of 17.4s                      ▏
//	   5.023  kafka       STUCK   2.011s of  2.0s                      ████████▎
//	   7.034  postgres    ok      0.004s of 18.4s                              ▏
//	   7.038  otel flush  ok      0.287s of 19.9s                              █▏
//
// The headline says "late" when Took is more than Grace. Names are cut after 24
// columns. Members of Parallel are indented under their step. There is no colour;
// see [Report.WriteTimeline].
func (r *Report) String() string { return r.timeline(false) }

// WriteTimeline writes String and a newline to w. The states have colours when w is
// a terminal, $NO_COLOR is empty (no-color.org) and $TERM is not "dumb".
func (r *Report) WriteTimeline(w io.Writer) error {
	f, ok := w.(*os.File)
	colour := ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(f)
	_, err := io.WriteString(w, r.timeline(colour)+"\n")
	return err
}

// row is a line of the timeline.
type row struct {
	Step
	name string // indented and cut
}

func (r *Report) timeline(colour bool) string {
	rows := appendRows(nil, r.Steps, "")
	total := r.Took
	nameWidth, tookWidth, budgetWidth := 0, 0, 0
	for _, row := range rows {
		total = max(total, row.Start+row.Took)
		nameWidth = max(nameWidth, width(row.name))
		tookWidth = max(tookWidth, len(r.took(row.Took)))
		budgetWidth = max(budgetWidth, len(r.budget(row.Budget)))
	}

	var b strings.Builder
	b.WriteString(r.headline())
	for _, row := range rows {
		fmt.Fprintf(&b, "\n%8s  %s%*s  ", strings.TrimSuffix(r.took(row.Start), "s"), row.name, nameWidth-width(row.name), "")
		state := stateCell(row.State, colour)
		if row.State == Skipped {
			b.WriteString(strings.TrimSpace(state))
			continue
		}
		fmt.Fprintf(&b, "%s%*s of %*s  %s", state, tookWidth, r.took(row.Took), budgetWidth, r.budget(row.Budget),
			bar(row.Start, row.Took, total))
	}
	return b.String()
}

// took and budget are in seconds. A budget is cut, not rounded, so that it never
// looks larger than it is.

func (r *Report) took(d time.Duration) string { return fmt.Sprintf("%.3fs", d.Seconds()) }

func (r *Report) budget(d time.Duration) string {
	if r.Grace < 2*time.Second || d > 0 && d < 100*time.Millisecond {
		return fmt.Sprintf("%.3fs", d.Truncate(time.Millisecond).Seconds())
	}
	return fmt.Sprintf("%.1fs", d.Truncate(100*time.Millisecond).Seconds())
}

func (r *Report) headline() string {
	failed, skipped := 0, 0
	for _, s := range r.Steps {
		switch s.State {
		case OK:
		case Skipped:
			skipped++
		default:
			failed++
		}
	}

	var b strings.Builder
	add := func(applies bool, format string, args ...any) {
		if applies {
			fmt.Fprintf(&b, format, args...)
		}
	}
	cause, all := causeName(r.Cause), steps(len(r.Steps))
	b.WriteString("shutdown: ")
	add(cause != "", "%s, ", cause)
	add(true, "%s grace, %s taken", short(r.Grace), short(r.Took))
	add(r.Took > r.Grace, ", late")
	add(r.Forced, ", forced")
	add(failed > 0, ", %d of %s failed", failed, all)
	add(skipped > 0, ", %d of %s skipped", skipped, all)
	add(failed+skipped == 0 && len(r.Steps) > 0, ", %s ok", all)
	add(r.config != nil, ", invalid configuration")
	add(r.Unlogged > 0, ", not logged: %d", r.Unlogged)
	return b.String()
}

func steps(n int) string {
	if n == 1 {
		return "1 step"
	}
	return fmt.Sprintf("%d steps", n)
}

// A reasoned error has a short name, such as "SIGTERM".
type reasoned interface {
	error
	Reason() string
}

// causeName is the Reason of a cause that has one, else its text.
func causeName(err error) string {
	if err == nil {
		return ""
	}
	name := err.Error()
	if e, ok := errs.AsType[reasoned](err); ok {
		name = e.Reason()
	}
	name, _, _ = strings.Cut(name, "\n")
	return cut(name, maxCause)
}

func appendRows(rows []row, steps []Step, indent string) []row {
	for _, s := range steps {
		rows = append(rows, row{s, cut(indent+s.Name, maxNameWidth)})
		rows = appendRows(rows, s.Members, indent+"  ")
	}
	return rows
}

// Columns for the states, and ECMA-48 colours.
var stateCells = [...]struct{ word, colour string }{
	OK:       {"ok", "32"},
	Failed:   {"FAILED", "31"},
	Panicked: {"PANIC", "31"},
	Stuck:    {"STUCK", "31"},
	Skipped:  {"skipped", "33"},
}

func stateCell(s State, colour bool) string {
	if s < 0 || int(s) >= len(stateCells) {
		return fmt.Sprintf("%-8s", s)
	}
	cell := stateCells[s]
	word := fmt.Sprintf("%-8s", cell.word)
	if colour {
		word = "\x1b[" + cell.colour + "m" + cell.word + "\x1b[m" + word[len(cell.word):]
	}
	return word
}

const fullBar = "██████████████████████████████" // barWidth columns

// bar begins in the column of start. Its length is rounded to an eighth of a
// column, and not less than one.
func bar(start, took, total time.Duration) string {
	column, eighths := 0, 1
	if total > 0 {
		scale := barWidth / total.Seconds()
		column = min(int(start.Seconds()*scale), barWidth-1)
		eighths = int(took.Seconds()*scale*8 + 0.5)
		eighths = max(1, min(eighths, 8*(barWidth-column)))
	}
	rest := [...]string{"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"}[eighths%8]
	return fmt.Sprintf("%*s%.*s%s", column, "", eighths/8, fullBar, rest)
}
