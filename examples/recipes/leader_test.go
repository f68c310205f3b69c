// SPDX-License-Identifier: MIT

package recipes

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	coordination "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
)

// The leader gives the lease up when its work has ended, and the next one takes it
// at its next try; when the leader is killed, it has to wait until the lease expires.
func TestLeaderElection(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			store := new(leases)
			api := httptest.NewServer(store)
			defer api.Close()
			first := start(t, "leader-election", "API="+api.URL, "HOSTNAME=first")
			first.awaitLine("job begins")
			second := start(t, "leader-election", "API="+api.URL, "HOSTNAME=second")
			second.awaitLine("leader: first")

			began := time.Now()
			if signal == syscall.SIGTERM {
				first.stop()
				first.wantCleanEnd([]string{"job begins", "job ends", "election ended"})
				if holder := store.holder(); holder == "first" {
					t.Error("the first one has ended and not released the lease")
				}
			} else if err := first.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			second.awaitLine("job begins")
			t.Logf("the next one works after %.1f s", time.Since(began).Seconds())
			second.stop()
			second.wantCleanEnd([]string{"job begins", "job ends", "election ended"})
		})
	}
}

// A leases is as much of a Kubernetes API server as an election needs: one lease,
// which is written only by who has seen its last version.
type leases struct {
	mu      sync.Mutex
	lease   *coordination.Lease
	version int
}

func (l *leases) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Method == http.MethodGet {
		if l.lease == nil {
			refuse(w, errors.NewNotFound(schema.GroupResource{Resource: "leases"}, "app"))
			return
		}
		reply(w, http.StatusOK, l.lease)
		return
	}
	lease, err := decode(r.Body)
	if err != nil {
		refuse(w, errors.NewBadRequest(err.Error()))
		return
	}
	if l.lease != nil && lease.ResourceVersion != l.lease.ResourceVersion {
		refuse(w, errors.NewConflict(schema.GroupResource{Resource: "leases"}, "app", nil))
		return
	}
	l.version++
	lease.ResourceVersion = strconv.Itoa(l.version)
	l.lease = lease
	reply(w, http.StatusOK, l.lease)
}

// decode reads JSON or protobuf, as the client likes.
func decode(r io.Reader) (*coordination.Lease, error) {
	body, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	lease := new(coordination.Lease)
	if err := runtime.DecodeInto(scheme.Codecs.UniversalDeserializer(), body, lease); err != nil {
		return nil, err
	}
	lease.SetGroupVersionKind(coordination.SchemeGroupVersion.WithKind("Lease"))
	return lease, nil
}

func refuse(w http.ResponseWriter, err *errors.StatusError) {
	err.ErrStatus.TypeMeta = meta.TypeMeta{Kind: "Status", APIVersion: "v1"}
	reply(w, int(err.ErrStatus.Code), err.ErrStatus)
}

func reply(w http.ResponseWriter, status int, object any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(object) // the client has gone
}

func (l *leases) holder() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.lease.Spec.HolderIdentity
}
