"""Recipes from the database to the controllers: read, checked, written, read back."""

LOGGER = system.util.getLogger("Recipe")
TIMEOUT_MS = 5000
TOLERANCE = 0.001
ROOT = "[default]Mixer"


def loadRecipe(name):
    """Parameters of a recipe: a list of dictionaries."""
    data = system.db.runNamedQuery("Recipe/Parameters", {"recipe": name})
    parameters = []
    for row in system.dataset.toPyDataSet(data):
        parameters.append({
            "tag": row["tag"],
            "value": row["value"],
            "low": row["low_limit"],
            "high": row["high_limit"],
            "unit": row["unit"],
        })
    return parameters


def checkLimits(parameters):
    """The parameters that are outside of their limits."""
    wrong = []
    for p in parameters:
        if p["low"] is not None and p["value"] < p["low"]:
            wrong.append("%s is %s %s, less than %s" % (p["tag"], p["value"], p["unit"], p["low"]))
        elif p["high"] is not None and p["value"] > p["high"]:
            wrong.append("%s is %s %s, more than %s" % (p["tag"], p["value"], p["unit"], p["high"]))
    return wrong


def machineReady(mixer):
    """Whether the mixer may take a recipe now."""
    paths = [
        "%s/%s/State" % (ROOT, mixer),
        "%s/%s/Remote" % (ROOT, mixer),
        "%s/%s/Faulted" % (ROOT, mixer),
    ]
    state, remote, faulted = system.tag.readBlocking(paths, TIMEOUT_MS)
    for value in (state, remote, faulted):
        if not value.quality.isGood():
            return False
    return state.value == "Idle" and remote.value and not faulted.value


def writeParameters(mixer, parameters):
    """Writes all values in one call; the paths that were refused."""
    paths = ["%s/%s/Recipe/%s" % (ROOT, mixer, p["tag"]) for p in parameters]
    values = [p["value"] for p in parameters]
    refused = []
    for path, code in zip(paths, system.tag.writeBlocking(paths, values, TIMEOUT_MS)):
        if not code.isGood():
            refused.append(path)
    return refused


def verify(mixer, parameters):
    """Reads the values back; the paths that differ."""
    paths = ["%s/%s/Recipe/%s" % (ROOT, mixer, p["tag"]) for p in parameters]
    different = []
    for path, p, got in zip(paths, parameters, system.tag.readBlocking(paths, TIMEOUT_MS)):
        if not got.quality.isGood():
            different.append(path)
        elif abs(got.value - p["value"]) > TOLERANCE:
            different.append(path)
    return different


def download(mixer, name, user):
    """Loads a recipe into a mixer; returns an empty string, or what went wrong."""
    parameters = loadRecipe(name)
    if not parameters:
        return "recipe %s has no parameters" % name
    wrong = checkLimits(parameters)
    if wrong:
        return "; ".join(wrong)
    if not machineReady(mixer):
        return "%s is not ready" % mixer
    refused = writeParameters(mixer, parameters)
    if refused:
        return "not written: %s" % ", ".join(refused)
    different = verify(mixer, parameters)
    if different:
        return "read back differently: %s" % ", ".join(different)
    system.tag.writeBlocking(["%s/%s/Recipe/Name" % (ROOT, mixer)], [name])
    LOGGER.info("%s loaded recipe %s into %s" % (user, name, mixer))
    return ""
