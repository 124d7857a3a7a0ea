package main

// The fold, docs/protocol.md §9: any set of checked records of one mesh → the same membership.

import (
	"slices"
)

const maxDevices = 16

type node struct {
	*record
	depth   int
	past    map[*node]bool
	parents []*node

	isVoid     bool // its verdict, in its own past
	needsAdmin bool
	rank       rank
	required   []*node
	anyOf      []*node
}

// Less is more senior. "" sorts before every id, which [hasDeviceGrant] false stands for.
type rank struct {
	grants         int
	grant          id
	deviceGrants   int
	hasDeviceGrant bool
	deviceGrant    id
}

const lowest = int(^uint(0) >> 1)

func compareIds(a, b id) int { return slices.Compare(a[:], b[:]) }

func compareRanks(a, b rank) int {
	if a.grants != b.grants {
		return a.grants - b.grants
	}
	if c := compareIds(a.grant, b.grant); c != 0 {
		return c
	}
	if a.deviceGrants != b.deviceGrants {
		return a.deviceGrants - b.deviceGrants
	}
	if a.hasDeviceGrant != b.hasDeviceGrant {
		if b.hasDeviceGrant {
			return -1
		}
		return 1
	}
	return compareIds(a.deviceGrant, b.deviceGrant)
}

func byCause(a, b *node) int {
	if a.depth != b.depth {
		return a.depth - b.depth
	}
	return compareIds(a.id, b.id)
}

func bySeniority(a, b *node) int {
	if c := compareRanks(a.rank, b.rank); c != 0 {
		return c
	}
	return byCause(a, b)
}

func concurrent(a, b *node) bool { return a != b && !a.past[b] && !b.past[a] }

func maximal(nodes []*node) []*node {
	var out []*node
	for _, n := range nodes {
		if !slices.ContainsFunc(nodes, func(o *node) bool { return o.past[n] }) {
			out = append(out, n)
		}
	}
	return out
}

func isEnder(n *node) bool {
	switch n.kind {
	case "remove", "leave", "device-removed", "person-rekeyed", "invite-closed":
		return true
	}
	return n.kind == "role" && n.role == "member"
}

func endsPerson(e *node, person id) bool {
	return (e.kind == "remove" && e.person == person) || (e.kind == "leave" && e.author == person)
}

func endsDevice(e *node, device, person id, grant *node) bool {
	switch e.kind {
	case "remove":
		return e.person == person
	case "leave":
		return e.author == person
	case "device-removed":
		return e.target == device
	case "person-rekeyed":
		listed := slices.ContainsFunc(e.devices, func(c certified) bool { return c.device.key == device })
		return e.person == person && !listed && !grant.past[e]
	}
	return false
}

func closesInvite(e, invite *node) bool {
	if invite.past[e] {
		return false
	}
	switch e.kind {
	case "invite-closed":
		return e.invite == invite.id
	case "role":
		return e.person == invite.author
	}
	return endsPerson(e, invite.author) || endsDevice(e, invite.by, invite.author, invite)
}

// The devices that a record brings.
func (n *node) brings() []id {
	switch n.kind {
	case "genesis", "admit", "device-added":
		return []id{n.device.key}
	case "person-rekeyed":
		var out []id
		for _, entry := range n.devices {
			out = append(out, entry.device.key)
		}
		return out
	}
	return nil
}

// Among what n stands on, the record that brought its author's device.
func (n *node) deviceGrant() *node {
	for _, g := range n.required {
		if slices.Contains(g.brings(), n.by) {
			return g
		}
	}
	return nil
}

func endsAuthor(e, n *node) bool {
	grant := n.deviceGrant()
	return endsPerson(e, n.author) || (grant != nil && endsDevice(e, n.by, n.author, grant))
}

func voids(e, n *node) bool {
	if e == n || e.past[n] {
		return false
	}
	if n.kind == "admit" {
		for _, g := range n.required {
			if g.kind == "invite-opened" && closesInvite(e, g) {
				return true
			}
		}
	}
	if e.kind == "role" {
		return e.person == n.author && n.needsAdmin && !n.past[e]
	}
	return endsAuthor(e, n)
}

// ── tables (9.2) ──

type person struct {
	id        id
	admission *node
	founder   bool
	baseRole  string
	roles     []*node
	name      string
	nameBy    *node
	personKey id
	keyBy     *node
	recovery  *id
}

type deviceEntry struct {
	id        id
	person    id
	grant     *node
	grants    int
	name      string
	sealing   id
	sealingBy *node
}

type use struct {
	device id
	use    int64
}

type inviteEntry struct {
	node *node
	used []use
}

type tables struct {
	persons  map[id]*person
	devices  map[id]*deviceEntry
	invites  map[id]*inviteEntry
	epochs   map[id]*node
	accepted []*node
	void     map[id]bool
	allowed  []*node
}

// [device, log] of all logs that a record allows, each once, in order.
func (t *tables) allowedLogs() [][2]id {
	var out [][2]id
	for _, n := range t.allowed {
		for _, log := range n.logs {
			out = append(out, [2]id{n.target, log})
		}
	}
	slices.SortFunc(out, func(a, b [2]id) int {
		if c := compareIds(a[0], b[0]); c != 0 {
			return c
		}
		return compareIds(a[1], b[1])
	})
	return slices.Compact(out)
}

// The device's person has allowed its logs once.
func (t *tables) wordSpent(device id) bool {
	return slices.ContainsFunc(t.allowed, func(n *node) bool { return n.target == device && n.word != nil })
}

func roleAmong(p *person, roles []*node) string {
	last := maximal(roles)
	if len(last) == 0 {
		return p.baseRole
	}
	for _, n := range last {
		if n.role != "admin" {
			return "member"
		}
	}
	return "admin"
}

func (p *person) role() string { return roleAmong(p, p.roles) }

func (p *person) roleBefore(n *node) string {
	var before []*node
	for _, r := range p.roles {
		if n.past[r] {
			before = append(before, r)
		}
	}
	return roleAmong(p, before)
}

func (p *person) adminGrants() []*node {
	if p.role() != "admin" {
		return nil
	}
	out := maximal(p.roles)
	slices.SortFunc(out, bySeniority)
	return out
}

func (p *person) grantOf() *node {
	if grants := p.adminGrants(); len(grants) > 0 {
		return grants[0]
	}
	return p.admission
}

func (p *person) grants() int {
	if p.founder {
		return 0
	}
	return p.grantOf().rank.grants + 1
}

func (t *tables) livingPerson(person id) bool {
	return t.persons[person] != nil && !slices.ContainsFunc(t.accepted, func(e *node) bool { return endsPerson(e, person) })
}

func (t *tables) livingDevice(d *deviceEntry) bool {
	return t.livingPerson(d.person) &&
		!slices.ContainsFunc(t.accepted, func(e *node) bool { return endsDevice(e, d.id, d.person, d.grant) })
}

func (t *tables) livingDevices(person id) []*deviceEntry {
	var out []*deviceEntry
	for _, d := range t.devices {
		if d.person == person && t.livingDevice(d) {
			out = append(out, d)
		}
	}
	return out
}

func (t *tables) isAdmin(person id) bool {
	p := t.persons[person]
	return p != nil && p.role() == "admin" && t.livingPerson(person)
}

func (t *tables) admins() int {
	count := 0
	for person := range t.persons {
		if t.isAdmin(person) {
			count++
		}
	}
	return count
}

func (t *tables) onlyAdmin(person id) bool { return t.isAdmin(person) && t.admins() == 1 }

func (t *tables) closed(invite *node) bool {
	return slices.ContainsFunc(t.accepted, func(e *node) bool { return closesInvite(e, invite) })
}

func (t *tables) nameTaken(name string, except *id) bool {
	for _, p := range t.persons {
		if p.name == name && (except == nil || p.id != *except) {
			return true
		}
	}
	return false
}

// ── judging a record by its own past (9.3) ──

func judge(n *node, v *tables) {
	if n.kind == "person-rekeyed" && n.word != nil {
		judgeRecovery(n, v)
		return
	}
	p, d := v.persons[n.author], v.devices[n.by]
	if p == nil || d == nil || d.person != p.id {
		unknownAuthor(n)
		return
	}
	n.needsAdmin = !isOwnMatter(n, v)
	n.rank = rank{p.grants(), p.grantOf().id, d.grants, true, d.grant.id}
	n.required = []*node{p.admission}
	if d.grant != p.admission {
		n.required = append(n.required, d.grant)
	}
	if n.kind == "admit" {
		if invite := v.invites[n.invite]; invite != nil {
			n.required = append(n.required, invite.node)
		}
	}
	if n.needsAdmin {
		n.anyOf = p.adminGrants()
	}
	n.isVoid = !v.livingPerson(p.id) || !v.livingDevice(d) || (n.needsAdmin && p.role() != "admin") || !isRightful(n, v, p)
}

func unknownAuthor(n *node) {
	n.isVoid, n.needsAdmin = true, true
	n.rank = rank{grants: lowest}
}

func isOwnMatter(n *node, v *tables) bool {
	switch n.kind {
	case "leave", "sealing-key", "epoch":
		return true
	case "role":
		return n.person == n.author && n.role == "member"
	case "device-added", "rename":
		return n.person == n.author
	case "device-removed", "log-allowed":
		d := v.devices[n.target]
		return (n.kind != "log-allowed" || n.word != nil) && d != nil && d.person == n.author
	}
	return false
}

func isRightful(n *node, v *tables, author *person) bool {
	target := v.persons[n.person]
	switch n.kind {
	case "leave":
		return !v.onlyAdmin(author.id)
	case "admit":
		return isRightfulAdmission(n, v)
	case "remove":
		return v.livingPerson(n.person) && target != author && !target.founder && !v.onlyAdmin(target.id)
	case "role":
		if !v.livingPerson(n.person) || (target == author && n.role == "admin") || target.role() == n.role {
			return false
		}
		if n.role == "admin" {
			return true
		}
		return !(target.founder && target != author) && !v.onlyAdmin(target.id)
	case "device-added":
		if !v.livingPerson(n.person) || !isCertified(n.cert, target.personKey, n.mesh[:], n.device) {
			return false
		}
		living := v.livingDevices(n.person)
		named := slices.ContainsFunc(living, func(d *deviceEntry) bool { return d.name == n.device.name })
		return len(living) < maxDevices && !named && v.devices[n.device.key] == nil
	case "device-removed":
		d := v.devices[n.target]
		if d == nil || !v.livingDevice(d) {
			return false
		}
		if d.person != author.id {
			return !v.persons[d.person].founder
		}
		return len(v.livingDevices(author.id)) > 1
	case "person-rekeyed":
		return isRightfulRekeying(n, v)
	case "rename":
		return v.livingPerson(n.person) && !v.nameTaken(n.name, &n.person)
	case "invite-opened":
		for _, s := range n.shares {
			d := v.devices[s.device]
			if d == nil || !v.livingDevice(d) || !v.isAdmin(d.person) {
				return false
			}
		}
		return true
	case "invite-closed":
		invite := v.invites[n.invite]
		return invite != nil && !v.closed(invite.node)
	case "log-allowed":
		d := v.devices[n.target]
		if d == nil || !v.livingDevice(d) {
			return false
		}
		return n.word == nil || (isLogWord(n.record, v.persons[d.person].personKey) && !v.wordSpent(n.target))
	case "epoch":
		for _, epoch := range n.after {
			if v.epochs[epoch] == nil {
				return false
			}
		}
	}
	return true
}

func isRightfulAdmission(n *node, v *tables) bool {
	invite := v.invites[n.invite]
	if invite == nil || v.closed(invite.node) || n.role != invite.node.role {
		return false
	}
	at := slices.IndexFunc(invite.node.shares, func(s share) bool { return s.device == n.by })
	if at < 0 || n.use >= invite.node.shares[at].uses || slices.Contains(invite.used, use{n.by, n.use}) {
		return false
	}
	return n.ms() <= invite.node.expires && isProof(n.record, invite.node.key) &&
		!v.nameTaken(n.name, nil) && v.devices[n.device.key] == nil
}

func isRightfulRekeying(n *node, v *tables) bool {
	if !v.livingPerson(n.person) {
		return false
	}
	keys, names := map[id]bool{}, map[string]bool{}
	for _, entry := range n.devices {
		if keys[entry.device.key] || names[entry.device.name] {
			return false
		}
		keys[entry.device.key], names[entry.device.name] = true, true
		if d := v.devices[entry.device.key]; d != nil && (d.person != n.person || !v.livingDevice(d)) {
			return false
		}
	}
	return true
}

func judgeRecovery(n *node, v *tables) {
	p := v.persons[n.person]
	if p == nil || n.author != n.person {
		unknownAuthor(n)
		return
	}
	n.rank = rank{grants: -1, grant: p.admission.id}
	n.required = []*node{p.admission}
	n.isVoid = !slices.Contains(n.brings(), n.by) || p.recovery == nil || !isRecovery(n.record, *p.recovery) || !isRightfulRekeying(n, v)
}

// ── folding a causally closed set (9.5) ──

func fold(nodes []*node) *tables {
	nodes = slices.Clone(nodes)
	slices.SortFunc(nodes, byCause)
	excluded := map[*node]bool{}
	for {
		accepted, voided := passOne(nodes, excluded)
		t, loser := passTwo(nodes, accepted, excluded, voided)
		if loser == nil {
			return t
		}
		excluded[loser] = true
	}
}

func passOne(nodes []*node, excluded map[*node]bool) (accepted []*node, voided map[*node]bool) {
	voided = map[*node]bool{}
	var enders []*node
	for _, n := range nodes {
		if isEnder(n) && !n.isVoid && !excluded[n] {
			enders = append(enders, n)
		}
	}
	slices.SortFunc(enders, bySeniority)
	for _, e := range enders {
		if slices.ContainsFunc(accepted, func(a *node) bool { return voids(a, e) }) || isChainBroken(e, accepted) {
			voided[e] = true
		} else {
			accepted = append(accepted, e)
		}
	}
	return accepted, voided
}

func isChainBroken(n *node, accepted []*node) bool {
	broken := func(g *node) bool {
		return slices.ContainsFunc(accepted, func(a *node) bool { return voids(a, g) }) || isChainBroken(g, accepted)
	}
	if slices.ContainsFunc(n.required, broken) {
		return true
	}
	return len(n.anyOf) > 0 && !slices.ContainsFunc(n.anyOf, func(g *node) bool { return !broken(g) })
}

func passTwo(nodes, accepted []*node, excluded, voided map[*node]bool) (*tables, *node) {
	genesis := nodes[0]
	t := &tables{map[id]*person{}, map[id]*deviceEntry{}, map[id]*inviteEntry{}, map[id]*node{}, nil, map[id]bool{}, nil}
	t.addPerson(genesis, genesis.founder, "admin", true)
	valid := map[*node]bool{genesis: true}
	brought := map[id]*node{genesis.device.key: genesis}
	for _, n := range nodes[1:] {
		ender := slices.Contains(accepted, n)
		isVoid := n.isVoid || excluded[n] || voided[n]
		if !isVoid && !ender {
			isVoid = slices.ContainsFunc(accepted, func(e *node) bool { return voids(e, n) })
		}
		if !isVoid && lostGround(n, accepted, valid, t) {
			if ender {
				return nil, n
			}
			isVoid = true
		}
		if !isVoid && !ender {
			isVoid = clashes(n, t)
		}
		if isVoid {
			t.void[n.id] = true
			continue
		}
		for _, device := range n.brings() {
			other := brought[device]
			if other == nil {
				brought[device] = n
			} else if !n.past[other] {
				if bySeniority(other, n) < 0 {
					return nil, n
				}
				return nil, other
			}
		}
		valid[n] = true
		t.apply(n)
	}
	if t.admins() == 0 {
		var enders []*node
		for _, e := range accepted {
			if e.kind == "remove" || e.kind == "leave" || e.kind == "role" {
				enders = append(enders, e)
			}
		}
		if last := maximal(enders); len(last) > 0 {
			return nil, slices.MaxFunc(last, bySeniority)
		}
	}
	return t, nil
}

func lostGround(n *node, accepted []*node, valid map[*node]bool, t *tables) bool {
	if slices.ContainsFunc(n.required, func(g *node) bool { return !valid[g] }) {
		return true
	}
	for _, e := range accepted {
		if n.past[e] && endsAuthor(e, n) {
			return true
		}
	}
	if author := t.persons[n.author]; n.needsAdmin && (author == nil || author.roleBefore(n) != "admin") {
		return true
	}
	switch n.kind {
	case "remove", "role", "device-added", "person-rekeyed", "rename":
		return t.persons[n.person] == nil
	case "device-removed", "log-allowed":
		return t.devices[n.target] == nil
	case "invite-closed":
		return t.invites[n.invite] == nil
	}
	return false
}

func clashes(n *node, t *tables) bool {
	switch n.kind {
	case "admit":
		invite := t.invites[n.invite]
		return invite != nil && slices.Contains(invite.used, use{n.by, n.use})
	case "device-added":
		return len(t.livingDevices(n.person)) >= maxDevices
	case "log-allowed":
		return n.word != nil && t.wordSpent(n.target)
	}
	return false
}

// ── applying (9.6) ──

func overridden(current, next *node) bool {
	return concurrent(current, next) && bySeniority(current, next) < 0
}

func (t *tables) apply(n *node) {
	if isEnder(n) {
		t.accepted = append(t.accepted, n)
	}
	switch n.kind {
	case "admit":
		t.addPerson(n, n.name, n.role, false)
		invite := t.invites[n.invite]
		invite.used = append(invite.used, use{n.by, n.use})
	case "role":
		t.persons[n.person].roles = append(t.persons[n.person].roles, n)
	case "rename":
		if p := t.persons[n.person]; !overridden(p.nameBy, n) {
			p.name, p.nameBy = n.name, n
		}
	case "device-added":
		t.addDevice(n, n.person, n.device)
	case "sealing-key":
		if d := t.devices[n.by]; !overridden(d.sealingBy, n) {
			d.sealing, d.sealingBy = n.sealing, n
		}
	case "person-rekeyed":
		if p := t.persons[n.person]; !overridden(p.keyBy, n) {
			p.personKey, p.keyBy = n.personKey, n
		}
		for _, entry := range n.devices {
			d := t.devices[entry.device.key]
			if d == nil {
				t.addDevice(n, n.person, entry.device)
			} else if d.person == n.person && !overridden(d.sealingBy, n) {
				d.name, d.sealing, d.sealingBy = entry.device.name, entry.device.sealing, n
			}
		}
	case "invite-opened":
		t.invites[n.id] = &inviteEntry{node: n}
	case "epoch":
		t.epochs[n.id] = n
	case "log-allowed":
		t.allowed = append(t.allowed, n)
	}
}

func (t *tables) addPerson(n *node, name, role string, founder bool) {
	p := &person{personOf(n.id), n, founder, role, nil, name, n, n.personKey, n, n.recovery}
	t.persons[p.id] = p
	t.addDevice(n, p.id, n.device)
}

func (t *tables) addDevice(n *node, person id, d device) {
	grants := 1
	if n.kind == "genesis" || n.kind == "admit" {
		grants = 0
	} else if by := t.devices[n.by]; by != nil && by.person == person {
		grants = by.grants + 1
	}
	t.devices[d.key] = &deviceEntry{d.key, person, n, grants, d.name, d.sealing, n}
}

// ── the roster ──

type roster struct {
	mesh    id
	nodes   map[id]*node
	waiting map[id]*record
}

func newRoster(mesh id) *roster { return &roster{mesh, map[id]*node{}, map[id]*record{}} }

func (r *roster) add(records ...*record) error {
	for _, one := range records {
		if one.mesh != r.mesh {
			return fail("WRONG_MESH", "a roster record of another mesh")
		}
		if r.nodes[one.id] == nil {
			r.waiting[one.id] = one
		}
	}
	for placed := true; placed; {
		placed = false
		for key, one := range r.waiting {
			if slices.ContainsFunc(one.parents, func(p id) bool { return r.nodes[p] == nil }) {
				continue
			}
			delete(r.waiting, key)
			r.place(one)
			placed = true
		}
	}
	return nil
}

func (r *roster) place(one *record) {
	n := &node{record: one, past: map[*node]bool{}}
	for _, p := range one.parents {
		parent := r.nodes[p]
		n.parents = append(n.parents, parent)
		n.past[parent] = true
		for earlier := range parent.past {
			n.past[earlier] = true
		}
		n.depth = max(n.depth, parent.depth+1)
	}
	r.nodes[one.id] = n
	if one.kind == "genesis" {
		n.rank = rank{grant: n.id}
		return
	}
	past := make([]*node, 0, len(n.past))
	for earlier := range n.past {
		past = append(past, earlier)
	}
	judge(n, fold(past))
}

func (r *roster) all() []*node {
	var out []*node
	for _, n := range r.nodes {
		out = append(out, n)
	}
	slices.SortFunc(out, byCause)
	return out
}

// Of several enders those that did not know another one, most senior first.
func firstOf(enders []*node) []*node {
	var out []*node
	for _, e := range enders {
		if !slices.ContainsFunc(enders, func(o *node) bool { return e.past[o] }) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, bySeniority)
	return out
}

// A log counts if all of them list it, up to the lowest.
func cutsOf(enders []*node) []cut {
	var out []cut
	if len(enders) == 0 {
		return nil
	}
	for _, lowest := range enders[0].cuts {
		everywhere := true
		for _, e := range enders[1:] {
			at := slices.IndexFunc(e.cuts, func(c cut) bool { return c.log == lowest.log })
			if at < 0 {
				everywhere = false
				break
			}
			if c := e.cuts[at]; c.seq < lowest.seq || (c.seq == lowest.seq && c.id.less(lowest.id)) {
				lowest = c
			}
		}
		if everywhere {
			out = append(out, lowest)
		}
	}
	return out
}

func (t *tables) usable(epoch *node) bool {
	for _, key := range epoch.keys {
		if d := t.devices[key.device]; d == nil || !t.livingDevice(d) {
			return false
		}
	}
	for _, e := range t.accepted {
		if e.kind != "role" && !epoch.past[e] {
			return false
		}
	}
	return true
}
