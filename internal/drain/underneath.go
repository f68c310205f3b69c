package drain

import (
	"net"
	"reflect"
)

// putUnderneath puts ours(inner) in the place of the listener inside l, if l is
// what tls.NewListener returns, and reports whether it is. Then our connections
// are inside its *tls.Conn, as they are with ServeTLS, and the accept queue is
// ours to empty. Around a *tls.Conn there is no room for them: net/http has to see
// that type. The field is exported, since it is embedded.
func putUnderneath(l net.Listener, ours func(inner net.Listener) net.Listener) bool {
	t := reflect.TypeOf(l)
	if t.Kind() != reflect.Pointer || t.Elem().PkgPath() != "crypto/tls" {
		return false
	}
	field := reflect.ValueOf(l).Elem().FieldByName("Listener")
	if !field.IsValid() || !field.CanSet() {
		return false
	}
	inner, ok := field.Interface().(net.Listener)
	if ok {
		field.Set(reflect.ValueOf(ours(inner)))
	}
	return ok
}
