// SPDX-License-Identifier: MIT

package shutdown_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/term/termtest"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// reason is a cause with a short name.
type reason string

func (r reason) Error() string  { return "signal: " + string(r) }
func (r reason) Reason() string { return string(r) }

const ms = time.Millisecond

func sample() *shutdown.Report {
	stuck := &shutdown.HookError{Name: "kafka", Err: errors.New("ignored the end of its context"), Stack: []byte("1 goroutine:\n")}
	return &shutdown.Report{
		Cause: fmt.Errorf("stop: %w", reason("SIGTERM")),
		Grace: 30 * time.Second,
		Took:  7312 * ms,
		Steps: []shutdown.Step{
			{Name: "delay", Took: 5000 * ms, Budget: 5000 * ms},
			{Name: "http :8080", Start: 5000 * ms, Took: 21 * ms, Budget: 19300 * ms},
			{Name: "kafka", Start: 5021 * ms, Took: 2001 * ms, Budget: 2000 * ms, State: shutdown.Stuck, Err: stuck},
			{Name: "postgres", Start: 7022 * ms, Took: 4 * ms, Budget: 20078 * ms},
			{Name: "otel flush", Start: 7026 * ms, Took: 286 * ms, Budget: 21474 * ms},
		},
	}
}

func TestTimeline(t *testing.T) {
	want := `
shutdown: SIGTERM, 30s grace, 7.3s taken, 1 of 5 steps failed
   0.000  delay       ok      5.000s of  5.0s  ████████████████████▌
   5.000  http :8080  ok      0.021s of 19.3s                      ▏
   5.021  kafka       STUCK   2.001s of  2.0s                      ████████▎
   7.022  postgres    ok      0.004s of 20.0s                              ▏
   7.026  otel flush  ok      0.286s of 21.4s                              █▏`
	if got := "\n" + sample().String(); got != want {
		t.Errorf("timeline is%s\nwant%s", got, want)
	}
}

func TestTimelineOfEverything(t *testing.T) {
	r := &shutdown.Report{
		Cause:  errors.New("http: broken\nand more"),
		Grace:  120 * time.Second,
		Took:   101 * time.Second,
		Forced: true,
		Steps: []shutdown.Step{
			{Name: "a name that is far too long for a column", Took: 100 * time.Second, Budget: 110 * time.Second, State: shutdown.Failed},
			{Name: "stores", Start: 100 * time.Second, Took: 900 * ms, Budget: 10 * time.Second, State: shutdown.Panicked, Members: []shutdown.Step{
				{Name: "db", Start: 100 * time.Second, Took: 900 * ms, Budget: 10 * time.Second, State: shutdown.Panicked},
				{Name: "caches", Start: 100 * time.Second, Took: 500 * ms, Budget: 5 * time.Second, Members: []shutdown.Step{
					{Name: "süß", Start: 100 * time.Second, Took: 500 * ms, Budget: 5 * time.Second},
				}},
			}},
			{Name: "two\nlines", Start: 101 * time.Second, State: shutdown.Skipped},
		},
	}
	want := `
shutdown: http: broken, 2m grace, 1m41s taken, forced, 2 of 3 steps failed, 1 of 3 steps skipped
   0.000  a name that is far too …  FAILED  100.000s of 110.0s  █████████████████████████████▊
 100.000  stores                    PANIC     0.900s of  10.0s                               ▎
 100.000    db                      PANIC     0.900s of  10.0s                               ▎
 100.000    caches                  ok        0.500s of   5.0s                               ▏
 100.000      süß                   ok        0.500s of   5.0s                               ▏
 101.000  two?lines                 skipped`
	if got := "\n" + r.String(); got != want {
		t.Errorf("timeline is%s\nwant%s", got, want)
	}
}

// Characters that take two columns, or none, move nothing.
func TestTimelineOfWideNames(t *testing.T) {
	r := &shutdown.Report{Grace: 10 * time.Second, Took: time.Second, Steps: []shutdown.Step{
		{Name: "ascii", Took: time.Second, Budget: 5 * time.Second},
		{Name: "数据库"},
		{Name: "キャッシュ停止処理とログの書き込み"},
		{Name: "한국어"},
		{Name: "cafe\u0301"},
		{Name: "🚀 rocket"},
		{Name: "👩\u200d💻 ❤\ufe0f"},
		{Name: "👍🏽"},
		{Name: "zero\u200bwidth"},
		{Name: "\u202eright to left"},
	}}
	want := `
shutdown: 10s grace, 1s taken, 10 steps ok
   0.000  ascii                    ok      1.000s of 5.0s  ██████████████████████████████
   0.000  数据库                   ok      0.000s of 0.0s  ▏
   0.000  キャッシュ停止処理とロ…  ok      0.000s of 0.0s  ▏
   0.000  한국어                   ok      0.000s of 0.0s  ▏
   0.000  cafe` + "\u0301" + `                     ok      0.000s of 0.0s  ▏
   0.000  🚀 rocket                ok      0.000s of 0.0s  ▏
   0.000  👩💻 ❤                   ok      0.000s of 0.0s  ▏
   0.000  👍                       ok      0.000s of 0.0s  ▏
   0.000  zerowidth                ok      0.000s of 0.0s  ▏
   0.000  right to left            ok      0.000s of 0.0s  ▏`
	if got := "\n" + r.String(); got != want {
		t.Errorf("timeline is%s\nwant%s", got, want)
	}
}

func TestTimelineOfNothing(t *testing.T) {
	for want, r := range map[string]*shutdown.Report{
		"shutdown: 0s grace, 0s taken": {},
		"shutdown: 500ms grace, 1ms taken, 1 step ok\n   0.000  hook  ok      0.000s of 0.250s  ▏": {
			Grace: 500 * ms, Took: 1 * ms, Steps: []shutdown.Step{{Name: "hook", Budget: 250 * ms}},
		},
	} {
		if got := r.String(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

func TestWriteTimeline(t *testing.T) {
	var b bytes.Buffer
	if err := sample().WriteTimeline(&b); err != nil || b.String() != sample().String()+"\n" {
		t.Errorf("%v: %q", err, b.String())
	}
}

// On a terminal the states have colour, and nothing else is different.
func TestWriteTimelineOnTerminal(t *testing.T) {
	for _, test := range []struct {
		noColor, term string
		coloured      bool
	}{
		{"", "xterm", true},
		{"1", "xterm", false},
		{"", "dumb", false},
	} {
		t.Setenv("NO_COLOR", test.noColor)
		t.Setenv("TERM", test.term)
		screen, terminal := termtest.Open(t)
		if err := sample().WriteTimeline(terminal); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096) // less than what a terminal buffers
		n := 0
		for bytes.Count(buf[:n], []byte("\n")) < 6 { // a line or more at a time
			more, err := screen.Read(buf[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += more
		}
		got := strings.ReplaceAll(string(buf[:n]), "\r\n", "\n")
		plain := strings.NewReplacer("\x1b[31m", "", "\x1b[32m", "", "\x1b[m", "").Replace(got)
		if want := sample().String() + "\n"; plain != want {
			t.Errorf("%+v: the terminal shows\n%q\nwant\n%q", test, plain, want)
		}
		if strings.Contains(got, "\x1b[31mSTUCK\x1b[m   2.001s") != test.coloured || (got != plain) != test.coloured {
			t.Errorf("%+v: got %q", test, got)
		}
	}
}

func TestReportJSON(t *testing.T) {
	r := sample()
	r.Steps = r.Steps[2:3]
	r.Steps[0].Members = []shutdown.Step{{Name: "inner", State: shutdown.Skipped}}
	want := `{"cause":"SIGTERM","forced":false,"grace":30000000000,"took":7312000000,` +
		`"steps":[{"name":"kafka","state":"stuck","start":5021000000,"took":2001000000,"budget":2000000000,` +
		`"error":"kafka: ignored the end of its context",` +
		`"members":[{"name":"inner","state":"skipped","start":0,"took":0,"budget":0}]}],` +
		`"error":"kafka: ignored the end of its context"}`
	got, err := json.Marshal(r)
	if err != nil || string(got) != want {
		t.Errorf("json is\n%s, %v\nwant\n%s", got, err, want)
	}

	// As an attribute of a log record it is the same.
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("done", "report", r)
	var record struct {
		Report map[string]any `json:"report"`
	}
	if err := json.Unmarshal(log.Bytes(), &record); err != nil {
		t.Fatal(err)
	}
	var same map[string]any
	if err := json.Unmarshal(got, &same); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(record.Report), fmt.Sprint(same); got != want {
		t.Errorf("in a log it is\n%s\nwant\n%s", got, want)
	}

	log.Reset()
	slog.New(slog.NewTextHandler(&log, nil)).Info("done", "report", r)
	if want := `report.steps="[kafka: stuck, 2.001s of 2s]"`; !strings.Contains(log.String(), want) {
		t.Errorf("as text it is\n%s", log.String())
	}
}

func TestReportErr(t *testing.T) {
	r := sample()
	var e *shutdown.HookError
	if err := r.Err(); !errors.As(err, &e) || e.Name != "kafka" || string(e.Stack) != "1 goroutine:\n" {
		t.Errorf("Err is %v", err)
	}
	if err := new(shutdown.Report).Err(); err != nil {
		t.Errorf("Err of a clean report is %v", err)
	}
}

func TestState(t *testing.T) {
	for state, want := range map[shutdown.State]string{
		shutdown.OK: "ok", shutdown.Failed: "failed", shutdown.Panicked: "panicked",
		shutdown.Stuck: "stuck", shutdown.Skipped: "skipped", -1: "State(-1)", 5: "State(5)",
	} {
		if got := state.String(); got != want {
			t.Errorf("%d is %q, want %q", int(state), got, want)
		}
	}
}
