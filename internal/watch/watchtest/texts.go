package watchtest

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Text is a text in memory.
type Text struct {
	// Path is how it is reached.
	Path string
	Text string
}

// Texts returns all strings, and all bytes as strings, that can be reached from a value: through unexported fields,
// interfaces, pointers, and keys of maps. Connections to the API server are left out, and so is what functions and
// channels hold. Nothing may change what is searched.
func Texts(root any) []Text {
	s := &search{seen: map[place]bool{}}
	s.walk("", reflect.ValueOf(root))
	return s.found
}

// Holding returns the texts in which a value, of at least twelve bytes, is to be found: as it is, in hex, or in base64
// wherever it begins there.
func Holding(texts []Text, value string) []Text {
	forms := []string{value, hex.EncodeToString([]byte(value))}
	for shift := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), value...))
		forms = append(forms, encoded[4:len(encoded)-4])
	}
	var holding []Text
	for _, text := range texts {
		if slices.ContainsFunc(forms, func(form string) bool { return strings.Contains(text.Text, form) }) {
			holding = append(holding, text)
		}
	}
	return holding
}

type search struct {
	seen  map[place]bool
	found []Text
}

// place is a pointer that was followed.
type place struct {
	at uintptr
	as reflect.Type
}

func (s *search) walk(path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		s.found = append(s.found, Text{path, v.String()})
	case reflect.Interface:
		s.walk(path, v.Elem())
	case reflect.Pointer:
		if at := (place{v.Pointer(), v.Type()}); !v.IsNil() && !s.seen[at] {
			s.seen[at] = true
			s.walk(path, v.Elem())
		}
	case reflect.Slice, reflect.Array:
		s.walkList(path, v)
	case reflect.Map:
		for entries := v.MapRange(); entries.Next(); {
			key := fmt.Sprintf("%s[%v]", path, entries.Key())
			s.walk(key+" (key)", entries.Key())
			s.walk(key, entries.Value())
		}
	case reflect.Struct:
		if connects(v.Type()) {
			return
		}
		for i := range v.NumField() {
			s.walk(path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	}
}

func (s *search) walkList(path string, v reflect.Value) {
	if v.Type().Elem().Kind() != reflect.Uint8 {
		for i := range v.Len() {
			s.walk(fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
		return
	}
	text := make([]byte, v.Len())
	for i := range text {
		text[i] = byte(v.Index(i).Uint())
	}
	s.found = append(s.found, Text{path, string(text)})
}

// connects reports whether values of the type belong to a connection, or to what knows the API's types.
func connects(t reflect.Type) bool {
	for _, part := range []string{"net", "crypto", "reflect", "k8s.io/client-go/rest", "k8s.io/apimachinery/pkg/runtime"} {
		if t.PkgPath() == part || strings.HasPrefix(t.PkgPath(), part+"/") {
			return true
		}
	}
	return false
}
