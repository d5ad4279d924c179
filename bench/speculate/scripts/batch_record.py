"""Electronic batch record: phases, parameters and signatures of one batch."""

LOGGER = system.util.getLogger("BatchRecord")
DATABASE = "Batch"
PHASES = ["Charge", "Heat", "React", "Cool", "Discharge"]


class BatchError(Exception):
    """A batch cannot go on as asked."""


def findBatch(number):
    """The row of a batch, or None."""
    rows = system.db.runNamedQuery("Batch/ByNumber", {"number": number})
    if rows.getRowCount() == 0:
        return None
    return {
        "id": rows.getValueAt(0, "id"),
        "number": number,
        "recipe": rows.getValueAt(0, "recipe"),
        "phase": rows.getValueAt(0, "phase"),
        "started": rows.getValueAt(0, "started"),
    }


def startBatch(number, recipe, user):
    """Creates the record; fails if the number is taken."""
    if findBatch(number) is not None:
        raise BatchError("batch %s exists already" % number)
    params = {
        "number": number,
        "recipe": recipe,
        "phase": PHASES[0],
        "user": user,
        "started": system.date.now(),
    }
    system.db.runNamedQuery("Batch/Insert", params)
    LOGGER.info("batch %s started by %s" % (number, user))
    return findBatch(number)


def nextPhase(phase):
    """The phase after this one, or None at the end."""
    index = PHASES.index(phase)
    if index + 1 < len(PHASES):
        return PHASES[index + 1]
    return None


def recordParameter(batch, name, value, unit):
    """Adds one measured value to the current phase."""
    params = {
        "batch": batch["id"],
        "phase": batch["phase"],
        "name": name,
        "value": value,
        "unit": unit,
        "t_stamp": system.date.now(),
    }
    system.db.runNamedQuery("Batch/InsertParameter", params)


def recordTags(batch, folder):
    """Adds the values of all tags in a folder to the current phase."""
    results = system.tag.browse(folder, {"tagType": "AtomicTag"}).getResults()
    paths = [str(r["fullPath"]) for r in results]
    values = system.tag.readBlocking(paths)
    for result, value in zip(results, values):
        if value.quality.isGood():
            recordParameter(batch, str(result["name"]), value.value, "")
        else:
            LOGGER.warn("no good value for %s" % result["fullPath"])


def sign(batch, user, password, meaning):
    """An electronic signature: the password is checked again, and the meaning is kept."""
    if not system.security.validateUser(user, password):
        LOGGER.warn("signature of %s refused for batch %s" % (user, batch["number"]))
        return False
    params = {
        "batch": batch["id"],
        "phase": batch["phase"],
        "user": user,
        "meaning": meaning,
        "t_stamp": system.date.now(),
    }
    system.db.runNamedQuery("Batch/InsertSignature", params)
    return True


def advance(batch, user, password):
    """Signs the phase and moves the batch to the next one; True when there is one."""
    if not sign(batch, user, password, "Phase complete"):
        raise BatchError("the signature is not valid")
    phase = nextPhase(batch["phase"])
    if phase is None:
        system.db.runNamedQuery("Batch/Finish", {"batch": batch["id"]})
        return False
    system.db.runNamedQuery("Batch/SetPhase", {"batch": batch["id"], "phase": phase})
    batch["phase"] = phase
    return True
