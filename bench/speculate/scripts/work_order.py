"""Work orders of a line: the queue, starting, counting and closing an order."""

LOGGER = system.util.getLogger("WorkOrder")
OPEN = 1
RUNNING = 2
PAUSED = 3
CLOSED = 4
NAMES = {OPEN: "Open", RUNNING: "Running", PAUSED: "Paused", CLOSED: "Closed"}


def tag(line, name):
    """The path of a tag of the order that runs on a line."""
    return "[default]Plant/%s/Order/%s" % (line, name)


def queue(line):
    """Orders that wait for a line, in the order of their due date."""
    data = system.db.runNamedQuery("Order/Queue", {"line": line, "state": OPEN})
    orders = []
    for row in system.dataset.toPyDataSet(data):
        orders.append({
            "id": row["id"],
            "product": row["product"],
            "quantity": row["quantity"],
            "due": row["due"],
        })
    return orders


def setState(order, state, user):
    """Moves an order to another state and keeps who did it."""
    params = {
        "order": order,
        "state": state,
        "user": user,
        "t_stamp": system.date.now(),
    }
    system.db.runNamedQuery("Order/SetState", params)
    LOGGER.info("order %s is %s (%s)" % (order, NAMES[state], user))


def current(line):
    """The number of the order that runs on a line, or None."""
    value = system.tag.readBlocking([tag(line, "Id")])[0]
    if value.quality.isGood() and value.value:
        return value.value
    return None


def start(line, order, user):
    """Starts an order; whether it could be started."""
    if current(line) is not None:
        LOGGER.warn("%s has an order already" % line)
        return False
    data = system.db.runNamedQuery("Order/ById", {"order": order})
    if data.getRowCount() == 0:
        LOGGER.warn("order %s is not known" % order)
        return False
    paths = [tag(line, "Id"), tag(line, "Product"), tag(line, "Target"), tag(line, "Count")]
    values = [order, data.getValueAt(0, "product"), data.getValueAt(0, "quantity"), 0]
    for code in system.tag.writeBlocking(paths, values):
        if not code.isGood():
            LOGGER.error("the order could not be written to %s" % line)
            return False
    setState(order, RUNNING, user)
    return True


def progress(line):
    """How much of the order is done, between 0 and 1."""
    count, target = system.tag.readBlocking([tag(line, "Count"), tag(line, "Target")])
    if not count.quality.isGood() or not target.quality.isGood() or not target.value:
        return 0.0
    return min(1.0, float(count.value) / target.value)


def pause(line, user, reason):
    """Pauses the order of a line."""
    order = current(line)
    if order is None:
        return False
    setState(order, PAUSED, user)
    system.db.runNamedQuery("Order/InsertPause", {"order": order, "reason": reason})
    return True


def close(line, user):
    """Closes the order of a line and clears its tags; what was made."""
    order = current(line)
    if order is None:
        return 0
    count = system.tag.readBlocking([tag(line, "Count")])[0].value
    system.db.runNamedQuery("Order/Finish", {"order": order, "made": count})
    setState(order, CLOSED, user)
    paths = [tag(line, "Id"), tag(line, "Product"), tag(line, "Target"), tag(line, "Count")]
    system.tag.writeBlocking(paths, ["", "", 0, 0])
    return count
