// SPDX-License-Identifier: MIT

package shutdown

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Report says where the time of a shutdown went. Nothing changes it after Run has
// returned it.
type Report struct {
	Cause  error         // what started the shutdown: Pipeline.Cause
	Steps  []Step        // in the order they ran, the Skipped ones last; each hook once
	Grace  time.Duration // as configured
	Took   time.Duration // of Run
	Forced bool          // the context given to Run ended before the last step did

	// Unlogged is how many records were not written when Run returned, because the
	// log's handler blocks, is slow or panics.
	Unlogged int

	config error // what is invalid in the configuration
}

// Step is one hook, or one member of [Parallel], in a Report.
type Step struct {
	Name    string
	Start   time.Duration // after the start of Run
	Took    time.Duration // until it returned or was given up on
	Budget  time.Duration // at Start; 0 when it was Skipped
	State   State
	Err     error  // nil or a *HookError
	Members []Step // of Parallel
}

// State is how a step ended. A step is as bad as the worst [HookError] in its
// error: a hook that returns the error of a Stuck member is Stuck.
type State int

const (
	OK       State = iota // returned nil
	Failed                // returned an error, or called runtime.Goexit
	Panicked              // panicked
	Stuck                 // ignored the end of its context; its goroutines are left behind
	Skipped               // did not run: the shutdown was forced
)

var stateNames = [...]string{"ok", "failed", "panicked", "stuck", "skipped"}

// String is the state in lower case.
func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return fmt.Sprintf("State(%d)", int(s))
	}
	return stateNames[s]
}

// MarshalText is String.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Err joins the error of an invalid configuration, if any, and a *[HookError] for
// each step that was not OK, in the order of Steps. It is nil when there are none.
func (r *Report) Err() error {
	errs := []error{r.config}
	for _, s := range r.Steps {
		errs = append(errs, s.Err)
	}
	return errors.Join(errs...)
}

// LogValue is the report as one group for structured logs, without stacks: Run has
// logged those when the step ended.
func (r *Report) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.String("cause", causeName(r.Cause)),
		slog.Bool("forced", r.Forced),
		slog.Duration("grace", r.Grace),
		slog.Duration("took", r.Took),
		slog.Any("steps", r.Steps),
	}
	if r.Unlogged > 0 {
		attrs = append(attrs, slog.Int("unlogged", r.Unlogged))
	}
	if err := r.Err(); err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	return slog.GroupValue(attrs...)
}

// MarshalJSON writes what LogValue has, durations in nanoseconds and errors as
// text.
func (r *Report) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Cause    string        `json:"cause,omitempty"`
		Forced   bool          `json:"forced"`
		Grace    time.Duration `json:"grace"`
		Took     time.Duration `json:"took"`
		Steps    []Step        `json:"steps"`
		Unlogged int           `json:"unlogged,omitempty"`
		Error    string        `json:"error,omitempty"`
	}{causeName(r.Cause), r.Forced, r.Grace, r.Took, r.Steps, r.Unlogged, text(r.Err())})
}

// MarshalJSON writes durations in nanoseconds and the error as text.
func (s Step) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Name    string        `json:"name"`
		State   State         `json:"state"`
		Start   time.Duration `json:"start"`
		Took    time.Duration `json:"took"`
		Budget  time.Duration `json:"budget"`
		Error   string        `json:"error,omitempty"`
		Members []Step        `json:"members,omitempty"`
	}{s.Name, s.State, s.Start, s.Took, s.Budget, text(s.Err), s.Members})
}

// String is the step in a few words: "kafka: stuck, 2.001s of 2s".
func (s Step) String() string {
	if s.State == Skipped {
		return s.Name + ": skipped"
	}
	return fmt.Sprintf("%s: %s, %s of %s", s.Name, s.State, s.Took, s.Budget)
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
