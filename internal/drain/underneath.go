package drain

import (
	"net"
	"reflect"
)

// Packages whose listeners wrap another, in a field named Listener, of which they
// ask nothing but the methods of net.Listener.
func wraps(pkg string) bool {
	switch pkg {
	case "crypto/tls", "golang.org/x/net/netutil", "github.com/pires/go-proxyproto":
		return true
	}
	return false
}

func isTLS(pkg string) bool { return pkg == "crypto/tls" }

// insert puts ours(inner) in the place of the innermost listener inside l that is
// reached through known wrappers. Its result is l or, if that is none, ours(l).
//
// Thus we empty the accept queue of a socket inside tls.NewListener and
// netutil.LimitListener, and our connections are inside those of TLS: around a
// *tls.Conn is no room for them, since net/http has to see that type.
func insert(l net.Listener, known func(pkg string) bool, ours func(inner net.Listener) net.Listener) net.Listener {
	field, ok := inside(l)
	if !ok || !field.CanSet() || !known(reflect.TypeOf(l).Elem().PkgPath()) {
		return ours(l)
	}
	inner := field.Interface().(net.Listener)
	field.Set(reflect.ValueOf(insert(inner, known, ours)))
	return l
}

// inside returns the field of l that has another listener.
func inside(l net.Listener) (field reflect.Value, ok bool) {
	if field, ok = fieldOf(l, "Listener"); ok {
		_, ok = field.Interface().(net.Listener)
	}
	return field, ok
}

// fieldOf returns the field of a struct, or of one that is pointed to, if it is an
// interface.
func fieldOf(of any, name string) (field reflect.Value, ok bool) {
	v := reflect.Indirect(reflect.ValueOf(of))
	for i := 0; v.Kind() == reflect.Struct && i < v.NumField(); i++ {
		if v.Type().Field(i).Name == name && v.Field(i).Kind() == reflect.Interface {
			return v.Field(i), v.Field(i).CanInterface()
		}
	}
	return v, false
}

// unwrapped returns the innermost listener inside l that is to be found.
func unwrapped(l net.Listener) net.Listener {
	for range maxWrappers {
		field, ok := inside(l)
		if !ok {
			break
		}
		l = field.Interface().(net.Listener)
	}
	return l
}

// maxWrappers bounds how deep we look for a socket.
const maxWrappers = 8

// unwrap returns the connection inside conn, or nil: by its method NetConn, as a
// *tls.Conn has it, or embedded.
func unwrap(conn net.Conn) net.Conn {
	if outer, ok := conn.(interface{ NetConn() net.Conn }); ok {
		return outer.NetConn()
	}
	if field, ok := fieldOf(conn, "Conn"); ok {
		inner, _ := field.Interface().(net.Conn)
		return inner
	}
	return nil
}
