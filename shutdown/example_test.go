// SPDX-License-Identifier: MIT

package shutdown_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/entrypoint-go/entrypoint/shutdown"
)

// The types of these examples stand for what a program has to stop.
type database struct{}

func (database) Close() error { return nil }

func (database) Flush(context.Context) error { return errors.New("collector: connection refused") }

var (
	db        database
	telemetry database
)

// One hook. Whatever it does, Run returns before Grace has passed.
func ExamplePipeline() {
	var stop shutdown.Pipeline
	stop.Defer("database", func(context.Context) error { return db.Close() })

	// When it is time:
	report := stop.Run(context.Background())
	if err := report.Err(); err != nil {
		fmt.Println(err)
	}
	// Output:
}

// The flush is last in line. However long the database takes, three seconds are
// kept for it, and three for a hook that is added meanwhile.
func ExamplePipeline_reserve() {
	stop := shutdown.Pipeline{
		Grace:   30 * time.Second, // the orchestrator's; 28.5s of it are usable
		Reserve: 3 * time.Second,
		Logger:  slog.New(slog.DiscardHandler),
	}
	stop.DeferLast("telemetry", func(ctx context.Context) error { return printBudget(ctx, "telemetry") })
	stop.Defer("database", func(ctx context.Context) error { return printBudget(ctx, "database") })

	stop.Run(context.Background())
	// Output:
	// database has 22s
	// telemetry has 25s
}

// printBudget is a quick hook: what it leaves, the next one has.
func printBudget(ctx context.Context, name string) error {
	end, _ := ctx.Deadline()
	fmt.Println(name, "has", time.Until(end).Truncate(time.Second))
	return nil
}

// Both stop at once, and share one budget. The report tells them apart.
func ExampleParallel() {
	stop := shutdown.Pipeline{Logger: slog.New(slog.DiscardHandler)}
	stop.Defer("stores", shutdown.Parallel(
		shutdown.Hook{Name: "database", Func: func(context.Context) error { return db.Close() }},
		shutdown.Hook{Name: "telemetry", Func: telemetry.Flush, Timeout: 2 * time.Second},
	))

	report := stop.Run(context.Background())
	for _, member := range report.Steps[0].Members {
		fmt.Println(member.Name, member.State)
	}
	fmt.Println(report.Err())
	// Output:
	// database ok
	// telemetry failed
	// shutdown: hook "stores": telemetry: collector: connection refused
}

// A step may have a limit of its own, also outside a pipeline.
func ExampleWithin() {
	slow := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	err := shutdown.Within(time.Second, slow)(context.Background())
	fmt.Println(err)
	// Output: context deadline exceeded
}

// What went wrong, and where it was when it did.
func ExampleReport() {
	stop := shutdown.Pipeline{Logger: slog.New(slog.DiscardHandler)}
	stop.Defer("database", func(context.Context) error { return db.Close() })
	stop.Defer("cache", func(context.Context) error { panic("index out of date") })
	stop.Defer("telemetry", telemetry.Flush)

	report := stop.Run(context.Background())
	for _, step := range report.Steps {
		fmt.Println(step.Name, step.State)
	}

	var hook *shutdown.HookError
	for _, step := range report.Steps {
		if errors.As(step.Err, &hook) && hook.Panic != nil {
			fmt.Printf("%s panicked with %q; the stack is known: %v\n", hook.Name, hook.Panic, len(hook.Stack) > 0)
		}
	}
	// Output:
	// telemetry failed
	// cache panicked
	// database ok
	// cache panicked with "index out of date"; the stack is known: true
}

// The timeline shows where the time went.
func ExampleReport_String() {
	report := &shutdown.Report{
		Cause: errors.New("SIGTERM"),
		Grace: 30 * time.Second,
		Took:  4 * time.Second,
		Steps: []shutdown.Step{
			{Name: "servers", Took: 3 * time.Second, Budget: 25500 * time.Millisecond},
			{Name: "database", Start: 3 * time.Second, Took: time.Second, Budget: 24 * time.Second},
		},
	}
	fmt.Println(report)
	// Output:
	// shutdown: SIGTERM, 30s grace, 4s taken, 2 steps ok
	//    0.000  servers   ok      3.000s of 25.5s  ██████████████████████▌
	//    3.000  database  ok      1.000s of 24.0s                        ███████▌
}

// The package is of use without the others: here a program waits for its signal
// itself. A second signal cuts the shutdown short.
func Example_withoutPid1() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)

	var stop shutdown.Pipeline
	if plan, err := stop.Plan(0, 2); err != nil {
		slog.Error("cannot stop in time", "error", err)
		os.Exit(1)
	} else {
		slog.Info(plan.String())
	}
	stop.Defer("database", func(context.Context) error { return db.Close() })
	stop.Defer("telemetry", telemetry.Flush)

	<-signals
	forced, force := context.WithCancelCause(context.Background())
	go func() {
		force(fmt.Errorf("second signal: %v", <-signals))
	}()
	report := stop.Run(forced)
	report.WriteTimeline(os.Stderr)
	if report.Err() != nil {
		os.Exit(1)
	}
}

// Metrics of the shutdown itself go out with the last flush.
func ExampleReportFrom() {
	stop := shutdown.Pipeline{Logger: slog.New(slog.DiscardHandler)}
	stop.DeferLast("telemetry", func(ctx context.Context) error {
		for _, step := range shutdown.ReportFrom(ctx).Steps {
			fmt.Println(step.Name, step.State)
		}
		return nil // provider.Shutdown(ctx)
	})
	stop.Defer("database", func(context.Context) error { return nil })
	stop.Run(context.Background())
	// Output:
	// database ok
}
