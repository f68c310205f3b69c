// SPDX-License-Identifier: MIT

// Leader-election: one of several processes works. The lease is released when the
// work has ended, so that the next one need not wait until it expires.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

func main() {
	client := coordinationv1.NewForConfigOrDie(&rest.Config{Host: os.Getenv("API")}) // yours: rest.InClusterConfig
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: "default", Name: "app"},
		Client:     client,
		LockConfig: resourcelock.ResourceLockConfig{Identity: os.Getenv("HOSTNAME")},
	}
	leader := pid1.Func(func(ctx context.Context) error {
		// Not ctx: the election ends after the work.
		election, release := context.WithCancel(context.Background())
		var working sync.Mutex
		context.AfterFunc(ctx, func() { working.Lock(); release() })
		leaderelection.RunOrDie(election, leaderelection.LeaderElectionConfig{
			Lock: lock, ReleaseOnCancel: true,
			LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(leads context.Context) {
					working.Lock()
					defer working.Unlock()
					for ctx.Err() == nil && leads.Err() == nil {
						fmt.Println("job begins")
						time.Sleep(500 * time.Millisecond)
						fmt.Println("job ends")
					}
				},
				OnStoppedLeading: func() { fmt.Println("election ended") },
				OnNewLeader:      func(name string) { fmt.Println("leader:", name) },
			},
		})
		if ctx.Err() == nil {
			return errors.New("the lease is lost")
		}
		return nil
	})
	pid1.Exit(pid1.Run(context.Background(), pid1.Named("leader", leader)))
}
