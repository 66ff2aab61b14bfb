package config

import "reflect"

// ReloadChanges returns what a reload changes. ignored are the keys that differ but need a
// restart; ReloadChanges sets them in next to their values in was. changed are the other
// top-level keys that differ.
func ReloadChanges(next, was *Config) (ignored, changed []string) {
	return keepUntilRestart(next, was), differences(next, was)
}

// keepUntilRestart copies the keys that are only read at start from was to next, and returns
// those that differed.
func keepUntilRestart(next, was *Config) []string {
	keys := []string{}
	keep := func(key string, next, was any) {
		n, w := reflect.ValueOf(next).Elem(), reflect.ValueOf(was).Elem()
		if !reflect.DeepEqual(n.Interface(), w.Interface()) {
			keys = append(keys, key)
			n.Set(w)
		}
	}
	keep("datapath.name", &next.Datapath.Name, &was.Datapath.Name)
	keep("netns", &next.Netns, &was.Netns)
	keep("dispatch", &next.Dispatch, &was.Dispatch)
	keep("handlers", &next.Handlers, &was.Handlers)
	keep("ring", &next.Ring, &was.Ring)
	keep("socket", &next.Socket, &was.Socket)
	keep("flows.prime", &next.Flows.Prime, &was.Flows.Prime)
	keep("log.format", &next.Log.Format, &was.Log.Format)
	keep("control", &next.Control, &was.Control)
	return keys
}

// differences returns the top-level keys at which two configurations differ.
func differences(a, b *Config) []string {
	keys := []string{}
	va, vb := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range va.NumField() {
		if !reflect.DeepEqual(va.Field(i).Interface(), vb.Field(i).Interface()) {
			keys = append(keys, va.Type().Field(i).Tag.Get("yaml"))
		}
	}
	return keys
}
