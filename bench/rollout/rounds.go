// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"sync"
	"time"
)

// inRounds updates all subjects n times, all at the same time, and the next time
// when all are done and the pause is over. It returns the seconds that each update
// took.
func inRounds(ctx context.Context, n int, pause time.Duration, subjects []string,
	update func(ctx context.Context, subject string) error) (map[string][]float64, error) {
	took := map[string][]float64{}
	for range n {
		seconds, errs := make([]float64, len(subjects)), make([]error, len(subjects))
		var all sync.WaitGroup
		for i, subject := range subjects {
			all.Go(func() {
				began := time.Now()
				errs[i] = update(ctx, subject)
				seconds[i] = time.Since(began).Seconds()
			})
		}
		all.Wait()
		for i, subject := range subjects {
			took[subject] = append(took[subject], seconds[i])
		}
		if err := errors.Join(append(errs, wait(ctx, pause))...); err != nil {
			return nil, err
		}
	}
	return took, nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
